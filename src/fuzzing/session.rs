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
    use crate::trial::Rng;

    #[test]
    fn any_choices_get_the_answers_of_the_reference() {
        let mut rng = Rng::new(13);
        for _ in 0..200 {
            let length = rng.index(600);
            let data: Vec<u8> = (0..length).map(|_| rng.number().to_le_bytes()[0]).collect();
            session(&data);
        }
    }
}
