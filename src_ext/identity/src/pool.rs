//! Threads that verify, so that no thread that decides does. There are few of them, they have a low priority, and only
//! so much work waits for them.

use crate::refusal::Refusal;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    most: usize,
}

/// A pool of threads with a queue of a bounded length.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    /// The nonce of the process whose threads these are.
    nonce: u64,
}

impl Pool {
    /// Start so many threads, before which at most so many jobs wait.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn new(threads: usize, most: usize) -> io::Result<Self> {
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), is_closed: false });
        let shared = Arc::new(Shared { queue, changed: Condvar::new(), most });
        let pool = Self { shared, nonce: ztfast_pages::enter()? };
        for _ in 0..threads {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name("ztfast-verify".into()).spawn(move || work(&shared))?;
        }
        Ok(pool)
    }

    /// Return an error if this process was forked from the one that has the threads. Nothing that they share may be
    /// touched then: one of them may have held its lock.
    ///
    /// # Errors
    /// [`Refusal::Forked`].
    pub fn check(&self) -> Result<(), Refusal> {
        if ztfast_pages::nonce() == self.nonce { Ok(()) } else { Err(Refusal::Forked) }
    }

    /// Let one of the threads do a job, and wait for its result.
    ///
    /// # Errors
    /// [`Refusal::Busy`] at once if the queue is full, [`Refusal::Forked`] in a child, and [`Refusal::Failed`] if the
    /// job panics.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        self.check()?;
        let (sender, receiver) = mpsc::sync_channel(1);
        {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            if queue.jobs.len() >= self.shared.most {
                return Err(Refusal::Busy);
            }
            queue.jobs.push_back(Box::new(move || {
                // Whoever asked waits for it.
                let _ = sender.send(job());
            }));
        }
        self.shared.changed.notify_one();
        // A job that panics drops its sender.
        receiver.recv().map_err(|_| Refusal::Failed)
    }
}

impl Drop for Pool {
    /// The threads end by themselves.
    fn drop(&mut self) {
        if self.check().is_ok() {
            self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
            self.shared.changed.notify_all();
        }
    }
}

fn work(shared: &Shared) {
    // Where the system refuses, the threads verify all the same.
    let _ = ztfast_pages::lower_priority();
    while let Some(job) = next(shared) {
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

fn next(shared: &Shared) -> Option<Job> {
    let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if let Some(job) = queue.jobs.pop_front() {
            return Some(job);
        }
        if queue.is_closed {
            return None;
        }
        queue = shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn jobs_are_done_by_other_threads() {
        let pool = Pool::new(2, 4).expect("threads start");
        let own = thread::current().id();
        assert_ne!(pool.run(|| thread::current().id()), Ok(own));
    }

    #[test]
    fn a_full_queue_refuses_at_once() {
        let pool = Arc::new(Pool::new(1, 1).expect("a thread starts"));
        let (begun, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let done = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            let held = (Arc::clone(&begun), Arc::clone(&end));
            scope.spawn(|| pool.run(move || (held.0.wait(), held.1.wait()).0.is_leader()));
            begun.wait();
            // The thread is busy now: one more job fits into the queue.
            let counted = Arc::clone(&done);
            scope.spawn(|| pool.run(move || counted.fetch_add(1, Ordering::Relaxed)));
            while pool.shared.queue.lock().expect("it is whole").jobs.is_empty() {
                thread::yield_now();
            }
            assert_eq!(pool.run(|| ()), Err(Refusal::Busy));
            end.wait();
        });
        assert_eq!(done.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_job_that_panics_is_refused_and_the_thread_goes_on() {
        let pool = Pool::new(1, 4).expect("a thread starts");
        let failed: Result<(), _> = pool.run(|| panic!("this panic is part of a test"));
        assert_eq!(failed, Err(Refusal::Failed));
        assert_eq!(pool.run(|| 7), Ok(7));
    }

    #[test]
    fn threads_end_with_the_pool() {
        let pool = Pool::new(2, 4).expect("threads start");
        let shared = Arc::downgrade(&pool.shared);
        drop(pool);
        let mut left = 10_000;
        while shared.strong_count() > 0 && left > 0 {
            thread::sleep(std::time::Duration::from_millis(1));
            left -= 1;
        }
        assert_eq!(shared.strong_count(), 0);
    }
}
