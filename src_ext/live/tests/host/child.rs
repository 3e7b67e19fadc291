//! A forked child that runs a job, can be stepped through it one instruction at a time, and is killed.
//!
//! The job of a child that is stepped stops it twice: before and after what is looked at.

use std::cell::Cell;
use std::ptr;

/// A child, which is killed at the latest when it is dropped.
pub struct Child {
    number: libc::pid_t,
    /// Whether the system has told of its end. From then on its number may be another process's.
    has_ended: Cell<bool>,
}

/// How a child fared at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It made one.
    Made,
    /// It stopped itself: what is looked at is over.
    Stopped,
}

/// Where the system keeps the address of a child's next instruction.
const NEXT: usize = std::mem::offset_of!(libc::user_regs_struct, rip);
/// The instruction that stops a child.
const TRAP: i64 = 0xCC;

/// Stop this child. Whoever steps it sees where what it looks at begins and ends.
pub fn stop() {
    // SAFETY: a signal to this thread, which only stops it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

impl Child {
    /// Fork a child that runs a job and ends. Only a process with one thread may call this.
    pub fn of(job: impl FnOnce()) -> Self {
        // SAFETY: the process has one thread, so the child finds no lock held.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let status = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).map_or(1, |()| 0);
                // SAFETY: the child ends here, without running what the parent registered for its end.
                unsafe { libc::_exit(status) }
            }
            number => Self { number, has_ended: Cell::new(false) },
        }
    }

    /// Fork a child that lets itself be stepped, and wait until it stops itself. `None` if the system does not allow
    /// that.
    pub fn stepped(job: impl FnOnce()) -> Option<Self> {
        let child = Self::of(|| {
            // SAFETY: the request takes no addresses.
            if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == -1 {
                // SAFETY: as in `of`.
                unsafe { libc::_exit(REFUSED) };
            }
            job();
        });
        let status = child.wait();
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED {
            return None;
        }
        assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGSTOP, "{status:#x}");
        Some(child)
    }

    /// Let the child make one instruction.
    pub fn step(&self) -> Step {
        self.go_on(libc::PTRACE_SINGLESTEP)
    }

    /// Let the child go on to the begin or the end of its next system call.
    pub fn go_to_call(&self) -> Step {
        self.go_on(libc::PTRACE_SYSCALL)
    }

    /// Return the address of the child's next instruction.
    pub fn next(&self) -> usize {
        usize::try_from(self.peek(libc::PTRACE_PEEKUSER, NEXT)).unwrap()
    }

    /// Let the child go on until an instruction is its next one, for this time.
    pub fn go_to(&self, address: usize, times: usize) -> Step {
        let (word, shift) = (address & !7, address % 8 * 8);
        let code = self.peek(libc::PTRACE_PEEKTEXT, word);
        let with_trap = code & !(0xFF << shift) | TRAP << shift;
        let mut reached = 0;
        loop {
            while self.next() == address {
                reached += 1;
                if reached == times {
                    return Step::Made;
                }
                if self.step() == Step::Stopped {
                    return Step::Stopped;
                }
            }
            self.poke(libc::PTRACE_POKETEXT, word, with_trap);
            let step = self.go_on(libc::PTRACE_CONT);
            self.poke(libc::PTRACE_POKETEXT, word, code);
            if step == Step::Stopped {
                return step;
            }
            assert_eq!(self.next(), address + 1, "the child stopped elsewhere");
            self.poke(libc::PTRACE_POKEUSER, NEXT, i64::try_from(address).unwrap());
        }
    }

    fn peek(&self, what: libc::c_uint, at: usize) -> i64 {
        // SAFETY: the request reads the child's memory or registers, and nothing of this process.
        unsafe {
            *libc::__errno_location() = 0;
            let word = libc::ptrace(what, self.number, ptr::without_provenance_mut::<u8>(at), 0);
            let error = std::io::Error::last_os_error();
            assert!(word != -1 || error.raw_os_error() == Some(0), "{error}");
            word
        }
    }

    fn poke(&self, what: libc::c_uint, at: usize, word: i64) {
        // SAFETY: the request writes the child's memory or registers, which are its own.
        let done = unsafe { libc::ptrace(what, self.number, ptr::without_provenance_mut::<u8>(at), word) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn go_on(&self, how: libc::c_uint) -> Step {
        // SAFETY: the request takes no addresses.
        let done = unsafe { libc::ptrace(how, self.number, ptr::null_mut::<u8>(), 0) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        let status = self.wait();
        assert!(libc::WIFSTOPPED(status), "the child ended: {status:#x}");
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => Step::Made,
            libc::SIGSTOP => Step::Stopped,
            signal => panic!("the child got signal {signal}"),
        }
    }

    /// Wait until the child ends by itself. Return whether its job was done.
    pub fn ends_well(self) -> bool {
        let status = self.wait();
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
    }

    /// Kill the child, and wait until it has ended.
    pub fn kill(self) {
        drop(self);
    }

    /// Return whether the child has ended by itself.
    pub fn has_ended(&self) -> bool {
        let mut status = 0;
        // SAFETY: the status is a local variable.
        let found = unsafe { libc::waitpid(self.number, &raw mut status, libc::WNOHANG) };
        self.has_ended.set(found == self.number);
        self.has_ended.get()
    }

    fn wait(&self) -> i32 {
        let mut status = 0;
        // SAFETY: as above.
        let found = unsafe { libc::waitpid(self.number, &raw mut status, 0) };
        assert_eq!(found, self.number, "{}", std::io::Error::last_os_error());
        self.has_ended.set(libc::WIFEXITED(status) || libc::WIFSIGNALED(status));
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.has_ended.get() {
            return;
        }
        // SAFETY: the system has not told of the child's end, so the number is still its own.
        unsafe { libc::kill(self.number, libc::SIGKILL) };
        while !self.has_ended.get() {
            self.wait();
        }
    }
}

/// The status of a child that may not be stepped.
const REFUSED: i32 = 77;
