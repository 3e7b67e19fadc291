//! The keeper: a thread, one per process, that notices when the wall clock is set and makes session tables follow it.
//!
//! Decisions read a clock that cannot be set. The system wakes the keeper when the wall clock is set, by cancelling a
//! timer. It does not report that the machine slept, so the keeper checks for this each second. Every method that
//! admits or changes something checks too, so only the delay with which a session ends depends on the keeper.
//!
//! Each second it also looks whether the state's file is still there.

use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;
use ztfast_pages::PerProcess;

/// The period of the keeper's checks.
const PERIOD: Duration = Duration::from_secs(1);
/// The period where the system does not report that the clock was set.
#[cfg(target_os = "linux")]
const BLIND: Duration = Duration::from_millis(100);

/// A table that the keeper looks after.
pub(crate) trait Kept: Send + Sync {
    /// Follow the clocks, each second and when the wall clock is set.
    fn follow_clocks(&self);

    /// Do what else must be done each second, for which the filesystem may keep the keeper waiting.
    fn look_at_file(&self);
}

/// Look after a table from now on.
pub(crate) fn watch(table: Weak<dyn Kept>) {
    static KEEPER: PerProcess<Keeper> = PerProcess::new();
    // The keeper and its thread stay for as long as the process. Miri fails where a test leaves something.
    if cfg!(miri) {
        return;
    }
    // If the keeper cannot be created, methods that admit or change something still check.
    if let Ok(keeper) = KEEPER.get_or_make(Keeper::default) {
        keeper.watch(table);
    }
}

/// The tables of this process.
#[derive(Default)]
struct Keeper {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tables: Vec<Weak<dyn Kept>>,
    runs: bool,
}

impl Keeper {
    /// Add a table, and start the thread if it does not run. If that fails, the next table tries again.
    fn watch(&'static self, table: Weak<dyn Kept>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tables.retain(|table| table.strong_count() > 0);
        state.tables.push(table);
        if !state.runs {
            let thread = std::thread::Builder::new().name("ztfast-clock".to_owned()).stack_size(128 << 10);
            state.runs = without_signals(|| thread.spawn(|| self.run()).is_ok());
        }
    }

    /// Look after all tables. Nothing is locked meanwhile, so a filesystem that does not answer delays no new engine,
    /// and all clocks come before it.
    fn keep(&self) {
        let tables = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.tables.retain(|table| table.strong_count() > 0);
            state.tables.clone()
        };
        tables.iter().filter_map(Weak::upgrade).for_each(|table| table.follow_clocks());
        tables.iter().filter_map(Weak::upgrade).for_each(|table| table.look_at_file());
    }

    #[cfg(target_os = "linux")]
    fn run(&self) -> ! {
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK).ok();
        loop {
            let armed = timer.as_ref().is_some_and(arm);
            // This comes after arming: if the clock is set from here on, the timer wakes the thread.
            self.keep();
            let Some(timer) = timer.as_ref().filter(|_| armed) else {
                std::thread::sleep(BLIND);
                continue;
            };
            let timeout = rustix::time::Timespec { tv_sec: PERIOD.as_secs().cast_signed(), tv_nsec: 0 };
            if poll(&mut [PollFd::new(timer, PollFlags::IN)], Some(&timeout)).is_err() {
                std::thread::sleep(BLIND);
            }
            // Reading reports the cancellation, which does not matter: the timer is armed again.
            let _ = rustix::io::read(timer, &mut [0_u8; 8]);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn run(&self) -> ! {
        loop {
            self.keep();
            std::thread::sleep(PERIOD);
        }
    }
}

/// Arm a timer that never expires. The system cancels it when the wall clock is set.
#[cfg(target_os = "linux")]
fn arm(timer: &std::os::fd::OwnedFd) -> bool {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    let never = Timespec { tv_sec: 1 << 33, tv_nsec: 0 };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: never };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once).is_ok()
}

/// Run `job` with all signals blocked, so that a thread created by it receives none of the process's signals.
fn without_signals<T>(job: impl FnOnce() -> T) -> T {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call fills the set that the second one reads; both are local variables.
    let blocked = unsafe {
        libc::sigfillset(all.as_mut_ptr()) == 0
            && libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) == 0
    };
    let done = job();
    if blocked {
        // SAFETY: the set was filled above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

    /// A table that tells what the keeper asks of it.
    struct Told {
        keeper: Arc<Keeper>,
        told: mpsc::Sender<&'static str>,
    }

    impl Kept for Told {
        fn follow_clocks(&self) {
            self.told.send("clock").unwrap();
        }

        fn look_at_file(&self) {
            assert!(self.keeper.state.try_lock().is_ok(), "the keeper is locked while it looks at files");
            self.told.send("file").unwrap();
        }
    }

    #[test]
    fn all_clocks_come_before_the_files_and_nothing_is_locked_meanwhile() {
        let keeper = Arc::new(Keeper::default());
        let (told, heard) = mpsc::channel();
        let table = |()| Arc::new(Told { keeper: keeper.clone(), told: told.clone() }) as Arc<dyn Kept>;
        let tables = [(); 3].map(table);
        keeper.state.lock().unwrap().tables = tables.iter().map(Arc::downgrade).collect();
        keeper.keep();
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), ["clock", "clock", "clock", "file", "file", "file"]);
        drop(tables);
        keeper.keep();
        assert!(heard.try_iter().next().is_none() && keeper.state.lock().unwrap().tables.is_empty());
    }
}
