//! Arguments of the campaigns: numbers behind flags.

/// The number behind a flag, or the default when it is not given.
///
/// # Panics
/// When something else than a number is behind it: a campaign must not run with another one than was meant.
pub(crate) fn number(flag: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    if arguments.next().is_none() {
        return default;
    }
    let value = arguments.next().unwrap_or_default();
    value.parse().unwrap_or_else(|_| panic!("{flag} {value}: not a number"))
}
