//! The server's session, over a pipe, against the reference.

use crate::trial::session_as_told;

/// Requests in frames get the answers of the reference, through restarts and rolls, and strangers who send bent frames
/// are refused with a documented code and change nothing; afterwards no part of the server's memory is held by anybody.
pub fn session(data: &[u8]) {
    if let Err(difference) = session_as_told(data) {
        panic!("{difference}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::choices::try_out;

    #[test]
    fn any_choices_get_the_answers_of_the_reference() {
        try_out(session, 200, 600);
    }
}
