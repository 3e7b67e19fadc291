//! The priority of a thread.

use std::io;

/// How much a thread yields to others: from 0, as most, to 19.
const NICE: i32 = 10;

/// Lower the priority of the calling thread, for good: threads that decide run before it.
///
/// # Errors
/// The system refuses.
pub fn lower_priority() -> io::Result<()> {
    // On Linux, process 0 is the calling thread (setpriority(2), "C library/kernel differences").
    Ok(rustix::process::setpriority_process(None, NICE)?)
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn one_thread_yields_and_the_others_do_not() {
        let own = || rustix::process::getpriority_process(None);
        let before = own().expect("a thread has a priority");
        let lowered = std::thread::spawn(move || lower_priority().and_then(|()| Ok(own()?)));
        assert_eq!(lowered.join().expect("it ended").ok(), Some(NICE));
        assert_eq!(own(), Ok(before));
    }
}
