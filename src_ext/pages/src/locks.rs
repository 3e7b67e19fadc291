//! Locks on bytes of a file, which the system takes back when the last process that holds them ends, however it ends.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Lock one byte of a file for this open file, if no other open file has it locked. The lock lasts until the file is
/// closed: here, and in children that were forked meanwhile.
///
/// # Errors
/// The system cannot lock the file.
pub fn try_lock_byte(file: &File, at: i64) -> io::Result<bool> {
    match lock(file, libc::F_OFD_SETLK, at, libc::F_WRLCK) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Unlock one byte of a file.
///
/// # Errors
/// The system cannot unlock it.
pub fn unlock_byte(file: &File, at: i64) -> io::Result<()> {
    lock(file, libc::F_OFD_SETLK, at, libc::F_UNLCK).map(|_| ())
}

/// Lock one byte of a file as [`try_lock_byte`] does, and wait for it. `None` if another open file has it locked for so
/// long.
///
/// # Errors
/// The system cannot lock the file.
pub fn lock_byte(file: &File, at: i64, patience: Duration) -> io::Result<Option<LockedByte<'_>>> {
    let mut since: Option<Instant> = None;
    let mut looks = 0;
    while !try_lock_byte(file, at)? {
        if since.get_or_insert_with(Instant::now).elapsed() >= patience {
            return Ok(None);
        }
        looks += 1;
        if looks < SOON {
            std::thread::yield_now();
        } else {
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    Ok(Some(LockedByte { file, at }))
}

/// How often a lock that another file holds is tried again at once, and how soon after that.
const SOON: u32 = 16;
const LOOK_AGAIN: Duration = Duration::from_micros(200);

/// A byte that is locked until this is dropped, also by a panic. The threads of a process share a file's locks, so they
/// exclude each other in another way.
#[derive(Debug)]
pub struct LockedByte<'f> {
    file: &'f File,
    at: i64,
}

impl Drop for LockedByte<'_> {
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked when the process ends.
        let _ = unlock_byte(self.file, self.at);
    }
}

/// Return whether another open file has this byte locked.
///
/// # Errors
/// The system does not tell.
pub fn is_byte_locked(file: &File, at: i64) -> io::Result<bool> {
    lock(file, libc::F_OFD_GETLK, at, libc::F_WRLCK).map(|kind| kind != libc::F_UNLCK)
}

#[allow(clippy::cast_possible_truncation)] // constants of the system's, which fit its fields
fn lock(file: &File, command: i32, at: i64, kind: i32) -> io::Result<i32> {
    // SAFETY: the struct consists of numbers, for which zeros are valid.
    let mut wanted: libc::flock = unsafe { std::mem::zeroed() };
    (wanted.l_type, wanted.l_whence) = (kind as i16, libc::SEEK_SET as i16);
    (wanted.l_start, wanted.l_len) = (at, 1);
    // SAFETY: the struct is exclusively borrowed during the call, and the file is open.
    let status = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut wanted) };
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(i32::from(wanted.l_type)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri locks no files")]
    fn a_byte_is_locked_by_one_open_file_until_that_is_closed() {
        let path = std::env::temp_dir().join(format!("ztfast-locks-{}", std::process::id()));
        let open = || File::options().create(true).truncate(false).read(true).write(true).open(&path).unwrap();
        let (first, second) = (open(), open());
        assert!(try_lock_byte(&first, 3).unwrap() && try_lock_byte(&first, 3).unwrap());
        assert!(!try_lock_byte(&second, 3).unwrap() && try_lock_byte(&second, 4).unwrap());
        assert!(is_byte_locked(&second, 3).unwrap() && !is_byte_locked(&first, 3).unwrap());
        drop(first);
        assert!(!is_byte_locked(&second, 3).unwrap() && try_lock_byte(&second, 3).unwrap());
        unlock_byte(&second, 3).unwrap();
        let (first, patience) = (open(), Duration::from_millis(3));
        let held = lock_byte(&first, 3, patience).unwrap();
        assert!(held.is_some() && lock_byte(&second, 3, patience).unwrap().is_none());
        drop(held);
        assert!(lock_byte(&second, 3, patience).unwrap().is_some());
        std::fs::remove_file(path).unwrap();
    }
}
