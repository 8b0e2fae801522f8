//! Makes a failing run short: steps, operations and parts are left out as long as it goes on failing.

use super::{
    op::{Op, Step},
    run::Difference,
};

/// Runs that a search may take.
const MAX_TRIES: usize = 1_000;

/// The shortest run found that fails, and how it does.
pub(super) fn shrink(
    mut steps: Vec<Step>,
    mut found: Difference,
    fails: impl Fn(&[Step]) -> Option<Difference>,
) -> (Vec<Step>, Difference) {
    steps.truncate(found.step + 1);
    let mut tries = 0;
    let mut is_changed = true;
    while is_changed {
        is_changed = false;
        let mut size = steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < steps.len() {
                // Shorter ones from the end of the run to its beginning: what is last is what fails.
                let end = steps.len() - at;
                let shorter = without(&steps, end.saturating_sub(size)..end);
                match attempt(&shorter, &mut tries, &fails) {
                    Some(difference) => {
                        steps = shorter;
                        steps.truncate(difference.step + 1);
                        (found, is_changed) = (difference, true);
                    }
                    None => at += size,
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        for simpler in simpler_ones(&steps) {
            // Built for the steps as they were: after one success the others are built anew.
            if let Some(difference) = attempt(&simpler, &mut tries, &fails) {
                steps = simpler;
                steps.truncate(difference.step + 1);
                (found, is_changed) = (difference, true);
                break;
            }
        }
    }
    (steps, found)
}

fn attempt(steps: &[Step], tries: &mut usize, fails: impl Fn(&[Step]) -> Option<Difference>) -> Option<Difference> {
    *tries += 1;
    if *tries > MAX_TRIES || steps.is_empty() { None } else { fails(steps) }
}

fn without(steps: &[Step], range: std::ops::Range<usize>) -> Vec<Step> {
    [&steps[..range.start], &steps[range.end..]].concat()
}

/// The same steps, each time with one operation, or one part or cursor of an append, left out.
fn simpler_ones(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut all = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let Step::Group(ops) = step else { continue };
        let mut with = |ops: Vec<Op>| {
            let mut simpler = steps.to_vec();
            simpler[number] = Step::Group(ops);
            all.push(simpler);
        };
        for at in 0..ops.len() {
            let mut fewer = ops.clone();
            fewer.remove(at);
            if !fewer.is_empty() {
                with(fewer);
            }
            let Op::Append { parts, cursors } = &ops[at] else { continue };
            let mut put = |parts, cursors| {
                let mut changed = ops.clone();
                changed[at] = Op::Append { parts, cursors };
                with(changed);
            };
            for part in (0..parts.len()).filter(|_| parts.len() > 1) {
                let mut fewer = parts.clone();
                fewer.remove(part);
                put(fewer, cursors.clone());
            }
            for cursor in 0..cursors.len() {
                let mut fewer = cursors.clone();
                fewer.remove(cursor);
                put(parts.clone(), fewer);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let backlog = |consumer| Op::Backlog { consumer };
        let is_fatal = |step: &Step| matches!(step, Step::Group(ops) if ops.contains(&backlog(7)));
        let fails = |steps: &[Step]| {
            let restart = steps.iter().position(|step| matches!(step, Step::Restart { .. }))?;
            let step = restart + steps[restart..].iter().position(is_fatal)?;
            Some(Difference { step, what: String::new() })
        };
        let mut steps: Vec<_> = (0..40).map(|at| Step::Group(vec![backlog(at % 5), backlog(at % 3)])).collect();
        steps[11] = Step::Restart { killed: true };
        steps[29] = Step::Group(vec![backlog(0), backlog(7), backlog(1)]);
        let found = fails(&steps).expect("fails");
        let (shortest, found) = shrink(steps, found, fails);
        assert_eq!(shortest, [Step::Restart { killed: true }, Step::Group(vec![backlog(7)])]);
        assert_eq!(found.step, 1);
    }
}
