//! What happens to files.

use std::fs;

use crate::support::World;

#[tokio::test]
async fn lines_arrive_in_order_and_an_unfinished_one_waits_for_its_end() {
    let mut world = World::new().await;
    world.append("a.log", "one\n\ntwo\r\nthr");
    world.start_agent();
    assert_eq!(world.lines(3).await, ["one", "", "two\r"]);
    world.append("a.log", "ee\n");
    assert_eq!(world.lines(4).await[3], "three");
    assert_eq!(world.records(1).await[0].key.as_deref(), Some(world.log("a.log").as_os_str().as_encoded_bytes()));
    // A file that appears, of one byte and its end.
    world.append("b.log", "x\n");
    assert_eq!(world.lines(5).await[4], "x");
    world.append("c.txt", "of no concern\n");
    assert_eq!(world.drained().await.len(), 5);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_server_is_with_and_without_the_state() {
    let mut world = World::new().await;
    world.append("a.log", "1\n2\n");
    world.start_agent();
    world.lines(2).await;
    world.stop_agent().await;
    world.append("a.log", "3\n");
    world.start_agent();
    world.lines(3).await;
    world.stop_agent().await;
    world.lose_state();
    world.append("a.log", "4\n");
    world.start_agent();
    assert_eq!(world.drained().await, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_file_that_is_renamed_is_read_to_its_end_before_the_one_that_takes_its_name() {
    let mut world = World::new().await;
    world.append("a.log", "1\n");
    world.start_agent();
    world.lines(1).await;
    let mut old = fs::OpenOptions::new().append(true).open(world.log("a.log")).expect("opens");
    fs::rename(world.log("a.log"), world.log("a.log.1")).expect("renamed");
    std::io::Write::write_all(&mut old, b"2\n").expect("written");
    world.append("a.log", "3\n");
    assert_eq!(world.lines(3).await, ["1", "2", "3"]);
    // Whoever still has the old file open is heard, also when it was deleted.
    fs::remove_file(world.log("a.log.1")).expect("removed");
    std::io::Write::write_all(&mut old, b"4\n").expect("written");
    assert_eq!(world.lines(4).await[3], "4");
    assert_eq!(world.drained().await.len(), 4);
}

#[tokio::test]
async fn a_file_that_was_renamed_while_nobody_looked_is_found_by_its_identity() {
    for loses_state in [false, true] {
        let mut world = World::new().await;
        world.append("a.log", "1\n");
        world.start_agent();
        world.lines(1).await;
        world.stop_agent().await;
        world.append("a.log", "2\n");
        fs::rename(world.log("a.log"), world.log("a.log.1")).expect("renamed");
        world.append("a.log", "3\n");
        if loses_state {
            world.lose_state();
        }
        world.start_agent();
        assert_eq!(world.drained().await, ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn what_was_in_a_truncated_file_is_finished_from_its_copy() {
    for loses_state in [false, true] {
        let mut world = World::new().await;
        world.append("a.log", "1\n2\n");
        world.start_agent();
        world.lines(2).await;
        world.stop_agent().await;
        world.append("a.log", "3\n4\n");
        fs::copy(world.log("a.log"), world.log("a.log.1")).expect("copied");
        fs::write(world.log("a.log"), "").expect("truncated");
        // It has grown beyond where it was, with the same beginning.
        world.append("a.log", "1\n2\n5\n6\n7\n8\n");
        if loses_state {
            world.lose_state();
        }
        world.start_agent();
        let lines = world.drained().await;
        match loses_state {
            // Nothing tells it from a file that only grew: its bytes are the same up to there.
            true | false if lines.len() == 6 => assert_eq!(lines, ["1", "2", "5", "6", "7", "8"]),
            _ => panic!("{lines:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_was_truncated_and_has_grown_again_is_another_one() {
    for loses_state in [false, true] {
        let mut world = World::new().await;
        world.append("a.log", "same\nold 1\n");
        world.start_agent();
        world.lines(2).await;
        world.stop_agent().await;
        world.append("a.log", "old 2\n");
        fs::copy(world.log("a.log"), world.log("a.log.1")).expect("copied");
        fs::write(world.log("a.log"), "").expect("truncated");
        world.append("a.log", "same\nnew 1\nnew 2\nnew 3\n");
        if loses_state {
            world.lose_state();
        }
        world.start_agent();
        let expected = ["same", "old 1", "old 2", "same", "new 1", "new 2", "new 3"];
        assert_eq!(world.drained().await, expected, "the state is lost: {loses_state}");
    }
}

#[tokio::test]
async fn truncation_is_seen_while_the_agent_runs() {
    let mut world = World::new().await;
    world.append("a.log", "1\n2\n");
    world.start_agent();
    world.lines(2).await;
    for round in 0..20 {
        fs::write(world.log("a.log"), "").expect("truncated");
        world.append("a.log", &format!("round {round}\n"));
        assert_eq!(world.lines(3 + round).await[2 + round], format!("round {round}"));
    }
}

#[tokio::test]
async fn directories_may_come_late_and_go() {
    let mut world = World::new().await;
    world.include = "deep/*/x.log".to_owned();
    world.start_agent();
    tokio::task::yield_now().await;
    fs::create_dir_all(world.log("deep/er")).expect("made");
    world.append("deep/er/x.log", "1\n");
    assert_eq!(world.lines(1).await, ["1"]);
    fs::remove_dir_all(world.log("deep")).expect("removed");
    fs::create_dir_all(world.log("deep/again")).expect("made");
    world.append("deep/again/x.log", "2\n");
    assert_eq!(world.lines(2).await, ["1", "2"]);
}

#[tokio::test]
async fn files_with_equal_beginnings_are_both_shipped() {
    let mut world = World::new().await;
    let text = "the same line\n".repeat(100_000);
    world.append("a.log", &text);
    world.append("b.log", &text);
    world.start_agent();
    assert_eq!(world.drained().await.len(), 200_000);
}

#[tokio::test]
async fn looking_again_and_again_does_what_inotify_does() {
    let mut world = World::new().await;
    world.options = "watch = \"poll\"\n".to_owned();
    world.append("a.log", "1\n");
    world.start_agent();
    world.lines(1).await;
    world.append("a.log", "2\n");
    world.lines(2).await;
    fs::rename(world.log("a.log"), world.log("a.log.1")).expect("renamed");
    world.append("a.log", "3\n");
    assert_eq!(world.lines(3).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn lines_of_a_group_leave_together_also_when_nothing_follows() {
    let mut world = World::new().await;
    world.options = "multiline = { start = '^\\d', timeout = \"1ms\" }\n".to_owned();
    world.append("a.log", "1 error\n  at x\n  at y\n2 fine\n");
    world.start_agent();
    assert_eq!(world.lines(2).await, ["1 error\n  at x\n  at y", "2 fine"]);
}

#[tokio::test]
async fn a_long_line_is_split_and_the_file_goes_on() {
    let mut world = World::new().await;
    world.options = "max_record_bytes = \"1KiB\"\n".to_owned();
    let long = "x".repeat(2500);
    world.append("a.log", &format!("{long}\nshort\n"));
    world.start_agent();
    let records = world.records(4).await;
    let sizes: Vec<_> = records.iter().map(|record| record.value.len()).collect();
    assert_eq!(sizes, [1024, 1024, 452, 5]);
    let split: Vec<_> =
        records.iter().map(|record| record.headers.first().map(|header| header.value.clone())).collect();
    assert_eq!(split, [Some("more".into()), Some("more".into()), Some("end".into()), None]);
}

#[tokio::test]
async fn files_that_were_compressed_are_shipped_once() {
    let mut world = World::new().await;
    (world.include, world.options) = ("*.gz".to_owned(), "gzip = true\n".to_owned());
    let text: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("written");
    fs::write(world.log("a.gz"), encoder.finish().expect("finished")).expect("written");
    world.start_agent();
    assert_eq!(world.lines(100_000).await[99_999], "line 99999");
    world.stop_agent().await;
    world.lose_state();
    world.start_agent();
    assert_eq!(world.drained().await.len(), 100_000);
}

#[tokio::test]
async fn with_start_at_the_end_what_was_there_before_is_passed_over() {
    let mut world = World::new().await;
    world.options = "start = \"end\"\n".to_owned();
    world.append("a.log", "old\n");
    world.start_agent();
    world.until_files(1).await;
    world.append("b.log", "new\n");
    world.lines(1).await;
    world.append("a.log", "1\n");
    world.lines(2).await;
    world.stop_agent().await;
    world.append("a.log", "2\n");
    world.start_agent();
    let lines = world.drained().await;
    assert!(lines.contains(&"1".to_owned()) && lines.contains(&"2".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"old".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_and_nothing_is_lost() {
    let mut world = World::new().await;
    world.start_agent();
    world.append("a.log", "0\n");
    world.lines(1).await;
    for round in 0..3 {
        let text: String = (0..1000).map(|n| format!("{}\n", 1 + round * 1000 + n)).collect();
        let (first, second) = text.split_at(text.len() / 2);
        world.append("a.log", first);
        world.restart_server().await;
        world.append("a.log", second);
    }
    let expected: Vec<_> = (0..=3000).map(|n| n.to_string()).collect();
    assert_eq!(world.lines(3001).await, expected);
    assert_eq!(world.count().await, 3001);
}

/// A file that waits for the one before it was given up as read when it lost its name: it had no size yet.
#[tokio::test]
async fn files_that_wait_for_others_are_read_whatever_becomes_of_their_names() {
    let mut world = World::new().await;
    world.append("a.log", "1\n");
    world.start_agent();
    world.lines(1).await;
    let address = world.address();
    world.server.take().expect("it runs").stop().await;
    // Nothing can be shipped, so each of these waits for the one before.
    for number in 2..6 {
        world.append("a.log", &format!("{number} first\n{number} second\n"));
        fs::rename(world.log("a.log"), world.log(&format!("gone.{number}"))).expect("renamed");
        world.append("a.log", "");
        world.until_files(number).await;
    }
    for number in 2..6 {
        fs::remove_file(world.log(&format!("gone.{number}"))).expect("removed");
    }
    world.append("a.log", "last\n");
    world.start_server(&address).await;
    let mut expected = vec!["1".to_owned()];
    expected.extend((2..6).flat_map(|number| [format!("{number} first"), format!("{number} second")]));
    expected.push("last".to_owned());
    assert_eq!(world.lines(10).await, expected);
}

/// A second name of a file, and its end, confused whose name the first one was.
#[tokio::test]
async fn another_name_of_a_file_changes_nothing() {
    let mut world = World::new().await;
    world.append("a.log", "1\n");
    world.start_agent();
    world.lines(1).await;
    fs::hard_link(world.log("a.log"), world.log("current")).expect("linked");
    world.append("a.log", "2\n");
    world.lines(2).await;
    fs::remove_file(world.log("current")).expect("removed");
    fs::write(world.log("a.log"), "").expect("truncated");
    world.append("a.log", "3\n");
    world.lines(3).await;
    fs::rename(world.log("a.log"), world.log("a.log.1")).expect("renamed");
    world.append("a.log", "4\n");
    assert_eq!(world.lines(4).await, ["1", "2", "3", "4"]);
    assert_eq!(world.drained().await.len(), 4);
}

/// As many files with unfinished lines as there may be producers kept all others from being read.
#[tokio::test]
async fn files_with_unfinished_lines_do_not_keep_others_from_being_read() {
    let mut world = World::new().await;
    for number in 0..300 {
        world.append(&format!("{number}.log"), "whole\nunfinished");
    }
    world.start_agent();
    world.lines(300).await;
    world.append("late.log", "late\n");
    assert_eq!(world.lines(301).await[300], "late");
    assert_eq!(world.drained().await.len(), 301);
}

/// Links are how a kubelet names the logs of containers: what is written where they lead was seen only at the next look
/// at everything, minutes later.
#[tokio::test]
async fn a_link_is_heard_where_it_leads_also_when_the_file_there_is_rotated() {
    let mut world = World::new().await;
    fs::create_dir_all(world.log("pods/a")).expect("made");
    world.append("pods/a/0.txt", "1\n");
    std::os::unix::fs::symlink(world.log("pods/a/0.txt"), world.log("a.log")).expect("linked");
    world.start_agent();
    world.lines(1).await;
    world.append("pods/a/0.txt", "2\n");
    assert_eq!(world.lines(2).await, ["1", "2"]);
    fs::rename(world.log("pods/a/0.txt"), world.log("pods/a/0.txt.1")).expect("renamed");
    world.append("pods/a/0.txt", "3\n");
    assert_eq!(world.lines(3).await[2], "3");
    world.append("pods/a/0.txt", "4\n");
    assert_eq!(world.drained().await, ["1", "2", "3", "4"]);
}

/// A file that leaves the directories and comes back goes on where it was.
#[tokio::test]
async fn a_file_that_was_away_goes_on_where_it_was() {
    let mut world = World::new().await;
    fs::create_dir_all(world.log("away")).expect("made");
    world.append("a.log", "1\n");
    world.start_agent();
    world.lines(1).await;
    fs::rename(world.log("a.log"), world.log("away/a.log")).expect("renamed");
    world.append("b.log", "2\n");
    world.lines(2).await;
    world.append("away/a.log", "3\n");
    fs::rename(world.log("away/a.log"), world.log("c.log")).expect("renamed");
    assert_eq!(world.lines(3).await, ["1", "2", "3"]);
    assert_eq!(world.drained().await.len(), 3);
}
