//! How many threads a framework computes with.

use crate::Result;

/// Does `work` with `RAYON_NUM_THREADS` threads, or with one where that is not set, and tells it the number.
///
/// Both candle and burn's CPU backend compute in the rayon pool that the caller is in. Matrices of some thousand numbers
/// are multiplied before a second thread is awake, and a pool that waits by spinning takes energy for nothing; so
/// programs with small models say how many threads they use instead of leaving it to the machine.
///
/// # Errors
///
/// If the variable is not a number above 0, or the threads cannot be started.
pub fn compute<T: Send>(work: impl FnOnce(usize) -> T + Send) -> Result<T> {
    let threads = match std::env::var("RAYON_NUM_THREADS") {
        Ok(text) => match text.parse() {
            Ok(threads) if threads > 0 => threads,
            _ => return Err(format!("RAYON_NUM_THREADS is `{text}`, not a number above 0").into()),
        },
        Err(_) => 1,
    };
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(|| work(threads)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_in_a_pool_of_the_said_size() {
        let (said, found) = compute(|threads| (threads, rayon::current_num_threads())).unwrap();
        assert_eq!(said, found);
    }
}
