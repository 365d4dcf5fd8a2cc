//! How many threads a framework computes with.

use std::env;
use std::process::Command;

use crate::Result;

/// What both frameworks look at: burn's CPU backend through rayon, candle for its matrices and for its own pool.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The number of threads that candle and burn compute with: what `RAYON_NUM_THREADS` says, and one where it is not set.
///
/// The frameworks read the variable themselves and candle heeds nothing else, not even the rayon pool that it is called
/// in; so where it is not set, the program starts over with it, and this function does not return. Left to themselves
/// the frameworks take a thread for each core; those wait by spinning, which takes energy, and models as small as the
/// ones here are done before a second thread is awake.
///
/// # Errors
///
/// If the variable is not a number above 0, or the program cannot be started over.
pub fn settle() -> Result<usize> {
    match env::var(VARIABLE) {
        Ok(text) => parse(&text),
        Err(_) => {
            let mut again = Command::new(env::current_exe()?);
            again.args(env::args_os().skip(1)).env(VARIABLE, "1");
            replace(again)
        }
    }
}

fn parse(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(threads) if threads > 0 => Ok(threads),
        _ => Err(format!("{VARIABLE} is `{text}`, not a number above 0").into()),
    }
}

/// Becomes `program`, and comes back only if it cannot.
#[cfg(unix)]
fn replace<T>(mut program: Command) -> Result<T> {
    use std::os::unix::process::CommandExt;

    Err(program.exec().into())
}

/// Runs `program` and exits as it does.
#[cfg(not(unix))]
fn replace<T>(mut program: Command) -> Result<T> {
    std::process::exit(program.status()?.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_threads_is_above_zero() {
        assert_eq!(parse("2").unwrap(), 2);
        for text in ["0", "-1", "two", ""] {
            let told = parse(text).unwrap_err().to_string();
            assert_eq!(told, format!("RAYON_NUM_THREADS is `{text}`, not a number above 0"));
        }
    }
}
