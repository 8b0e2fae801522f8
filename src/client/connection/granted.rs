//! What a server granted in its answer to Hello, checked once.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    client::error::{Disconnect, Error},
    limits::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, MAX_APPEND_COMMITS, MIN_FRAME_BYTES},
    protocol::{Hello, HelloAnswer, Id},
};

/// The most that the control fields of an Append with one part take, rounded up: 25 bytes for each cursor.
const APPEND_CONTROL_BYTES: usize = 64 + 25 * MAX_APPEND_COMMITS;
/// A server that wants a sign of life more often than this would get nothing else.
const MIN_KEEPALIVE: Duration = Duration::from_millis(100);

/// The limits of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) struct Granted {
    /// Identity of the data.
    pub(in crate::client) server_id: Id,
    pub(in crate::client) max_frame_bytes: usize,
    /// A batch of this size fits a frame, too.
    pub(in crate::client) max_batch_bytes: usize,
    pub(in crate::client) max_record_bytes: usize,
    pub(in crate::client) max_in_flight_requests: usize,
    pub(in crate::client) max_in_flight_bytes: u32,
    pub(in crate::client) keepalive: Duration,
}

impl Granted {
    /// Checks that the answer stays within what was asked, and leaves room to work.
    pub(super) fn check(asked: &Hello, answer: &HelloAnswer) -> Result<Self, Disconnect> {
        let violation = |text: String| Err(Disconnect::violation(text));
        if !(asked.min_version..=asked.max_version).contains(&answer.version) {
            return violation(format!("version {} was not offered", answer.version));
        }
        let max_frame_bytes = answer.max_frame_bytes as usize;
        if max_frame_bytes < MIN_FRAME_BYTES || answer.max_frame_bytes > asked.max_frame_bytes {
            let asked = asked.max_frame_bytes;
            return violation(format!("frames of {max_frame_bytes} bytes granted, asked for {asked}"));
        }
        let fits_frame = max_frame_bytes - FRAME_HEADER_BYTES - APPEND_CONTROL_BYTES;
        let granted = Self {
            server_id: answer.server_id,
            max_frame_bytes,
            max_batch_bytes: (answer.max_batch_bytes as usize).min(fits_frame),
            max_record_bytes: answer.max_record_bytes as usize,
            max_in_flight_requests: answer.max_in_flight_requests as usize,
            max_in_flight_bytes: answer.max_in_flight_bytes,
            keepalive: Duration::from_millis(answer.keepalive_ms.into()),
        };
        match granted.leaves_room() {
            true => Ok(granted),
            false => violation(format!("limits that leave no room to work: {answer:?}")),
        }
    }

    /// Ids, sequences and offsets are good in the data that they come from, and in no other.
    pub(in crate::client) fn check_data(&self, opened: Id) -> Result<(), Error> {
        match self.server_id == opened {
            true => Ok(()),
            false => {
                Err(Error::ServerChanged { opened: Uuid::from_bytes(opened), found: Uuid::from_bytes(self.server_id) })
            }
        }
    }

    fn leaves_room(&self) -> bool {
        self.max_batch_bytes > BATCH_HEADER_BYTES
            && self.max_record_bytes > 0
            && self.max_in_flight_requests > 0
            && self.max_in_flight_bytes > 0
            && self.keepalive >= MIN_KEEPALIVE
    }
}

const _: () = assert!(FRAME_HEADER_BYTES + APPEND_CONTROL_BYTES + BATCH_HEADER_BYTES < MIN_FRAME_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::testing::{granted_answer, hello, narrow};

    #[test]
    fn limits_beyond_what_was_asked_or_without_room_are_refused() {
        Granted::check(&hello(), &granted_answer()).expect("reasonable limits");
        let refused: [fn(&mut HelloAnswer); 8] = [
            |answer| answer.version = 2,
            |answer| answer.max_frame_bytes = narrow(MIN_FRAME_BYTES) - 1,
            |answer| answer.max_frame_bytes += 1,
            |answer| answer.max_batch_bytes = narrow(BATCH_HEADER_BYTES),
            |answer| answer.max_record_bytes = 0,
            |answer| answer.max_in_flight_requests = 0,
            |answer| answer.max_in_flight_bytes = 0,
            |answer| answer.keepalive_ms = 0,
        ];
        for change in refused {
            let mut answer = granted_answer();
            change(&mut answer);
            let error = Granted::check(&hello(), &answer).expect_err("not allowed");
            assert!(matches!(error, Disconnect::Violation(_)), "{error:?}");
        }
    }

    #[test]
    fn a_batch_of_the_largest_size_fits_a_frame_whatever_is_granted() {
        let mut answer = granted_answer();
        answer.max_batch_bytes = u32::MAX;
        let granted = Granted::check(&hello(), &answer).expect("allowed");
        assert!(granted.max_batch_bytes + APPEND_CONTROL_BYTES + FRAME_HEADER_BYTES <= granted.max_frame_bytes);
    }
}
