//! Atomic writing of a file: its name has either the old content or the whole new one, whichever processes write it and
//! wherever one of them ends.
//!
//! The content is written to a separate file in the same folder, flushed to the disk, and renamed. If the system
//! supports it, that file has no name until it is complete, so that a killed process leaves nothing behind. Otherwise
//! it has one of a few names, and its writer holds a lock on it: a name whose lock is free was left by a killed
//! process, and the next writer takes it.

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot write it: {source}", path = path.display())]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

/// The most processes that can write one name at once.
const WRITERS: u32 = 10_000;

/// Write a file atomically: its name has either its old content or the whole new one, even after a crash.
///
/// A link is followed, and its target replaced. A broken link is refused, and so is anything but a regular file. The
/// new file keeps the mode of the old one, and its owner and group as far as the system allows. A file that is new has
/// the mode that the process gives new files.
///
/// # Errors
/// [`SaveError`] names the file and the system's error. The file then has its old content, unless only flushing the
/// folder failed.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    write(path, bytes).map_err(|source| SaveError { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, old) = target(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path does not name a file"))?;
    let folder = Folder::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    // The replacement of a private file must not be readable by others, even before it gets its mode.
    let mode = if old.is_some() { Mode::from_raw_mode(0o600) } else { Mode::from_raw_mode(0o666) };
    let fill = |new: &mut Temporary<'_>| {
        new.file.write_all(bytes)?;
        if let Some(old) = &old {
            keep(&new.file, old)?;
        }
        new.file.sync_all()
    };
    #[cfg(target_os = "linux")]
    if let Some(mut new) = Temporary::nameless(&folder, name, mode) {
        fill(&mut new)?;
        // Linking fails without /proc, for example.
        if new.link() {
            new.rename(name)?;
            return folder.sync();
        }
    }
    let mut new = Temporary::named(&folder, name, mode)?;
    fill(&mut new)?;
    new.rename(name)?;
    folder.sync()
}

/// Return the path and metadata of the file to replace, or the path of a new file.
fn target(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let old = match path.metadata() {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.symlink_metadata() {
                Ok(_) => Err(io::Error::other("it is a broken link")),
                Err(_) => Ok((path.to_owned(), None)),
            };
        }
        Err(error) => return Err(error),
    };
    if !old.is_file() {
        let kind = old.file_type();
        return Err(io::Error::other(if kind.is_dir() {
            "it is a folder"
        } else if kind.is_fifo() {
            "it is a FIFO, not a regular file"
        } else if kind.is_socket() {
            "it is a socket, not a regular file"
        } else {
            "it is a device, not a regular file"
        }));
    }
    if !path.symlink_metadata()?.is_symlink() {
        return Ok((path.to_owned(), Some(old)));
    }
    let real = path.canonicalize()?;
    // The system may refuse to follow a link, such as another user's in a shared folder: `metadata` above did follow
    // it.
    let same = real.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == (old.dev(), old.ino()));
    if !same {
        return Err(io::Error::other("the link was changed meanwhile"));
    }
    Ok((real, Some(old)))
}

/// Give the new file the owner, group and mode of the old one.
fn keep(new: &File, old: &Metadata) -> io::Result<()> {
    let own = new.metadata()?;
    let mut mode = old.mode() & 0o777;
    if own.uid() != old.uid() {
        // Only the administrator can give files away. For other users the file becomes theirs, as if they had copied
        // it.
        let _ = std::os::unix::fs::fchown(new, Some(old.uid()), None);
    }
    if own.gid() != old.gid() && std::os::unix::fs::fchown(new, None, Some(old.gid())).is_err() {
        // The permissions of one group are not for another, which gets those of all users.
        mode &= !0o070 | (mode & 0o007) << 3;
    }
    rustix::fs::fchmod(new, Mode::from_raw_mode(mode))?;
    Ok(())
}

struct Folder {
    descriptor: OwnedFd,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let open = |flags| rustix::fs::open(path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let opened = match open(OFlags::RDONLY) {
            // A folder may be writable without being readable.
            #[cfg(target_os = "linux")]
            Err(Errno::ACCESS) => open(OFlags::PATH),
            other => other,
        };
        Ok(Self { descriptor: opened? })
    }

    /// Flush the folder to the disk, if it can be flushed.
    fn sync(&self) -> io::Result<()> {
        match rustix::io::retry_on_intr(|| rustix::fs::fsync(&self.descriptor)) {
            // The folder is not readable, or its file system flushes by itself.
            Err(Errno::BADF | Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Return whether a name refers to this file.
    fn has(&self, name: &OsStr, file: &File) -> bool {
        let there = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(file);
        matches!((there, own), (Ok(there), Ok(own)) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
    }
}

/// The new content, before it has its name. It is deleted on drop.
struct Temporary<'f> {
    folder: &'f Folder,
    file: File,
    /// The file's temporary name.
    name: Option<OsString>,
    names: Names,
}

/// The temporary names of one target name. Their length does not depend on the target's.
struct Names(String);

impl Names {
    fn of(name: &OsStr) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
        Self(format!(".ztfast-{hash:016x}"))
    }

    fn all(&self) -> impl Iterator<Item = OsString> + use<> {
        let stem = self.0.clone();
        (0..WRITERS).map(move |number| format!("{stem}-{number}.tmp").into())
    }
}

/// Lock a file; `None` if the file system has no locks, and `false` if another process holds the lock.
fn try_lock(file: &File) -> Option<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(true),
        Err(Errno::WOULDBLOCK) => Some(false),
        Err(_) => None,
    }
}

fn lock(file: &File) -> bool {
    try_lock(file) == Some(true)
}

impl<'f> Temporary<'f> {
    /// Create a file that has no name yet, if the system supports it.
    #[cfg(target_os = "linux")]
    fn nameless(folder: &'f Folder, name: &OsStr, mode: Mode) -> Option<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder.descriptor, ".", flags, mode).ok()?);
        // It is locked before it gets a name, so that no other process takes it for a leftover. No other process has it
        // open, and without locks none looks for leftovers.
        let _ = lock(&file);
        Some(Self { folder, file, name: None, names: Names::of(name) })
    }

    fn named(folder: &'f Folder, name: &OsStr, mode: Mode) -> io::Result<Self> {
        let names = Names::of(name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        for name in names.all() {
            let made = rustix::io::retry_on_intr(|| rustix::fs::openat(&folder.descriptor, &name, flags, mode));
            match made {
                Ok(file) => {
                    let file = File::from(file);
                    // Another process may have taken it for a leftover before it was locked. Without locks none does.
                    if try_lock(&file) != Some(false) && folder.has(&name, &file) {
                        return Ok(Self { folder, file, name: Some(name), names });
                    }
                }
                Err(Errno::EXIST) => clear(folder, &name),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("too many processes write it at once"))
    }

    /// Give the file one of its temporary names. Return whether it has one now.
    #[cfg(target_os = "linux")]
    fn link(&mut self) -> bool {
        use std::os::fd::AsRawFd;
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        for between in self.names.all() {
            let folder = &self.folder.descriptor;
            match rustix::fs::linkat(rustix::fs::CWD, &nameless, folder, &between, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) => {
                    self.name = Some(between);
                    return true;
                }
                Err(Errno::EXIST) => clear(self.folder, &between),
                Err(_) => return false,
            }
        }
        false
    }

    /// Rename the file to its final name.
    fn rename(mut self, name: &OsStr) -> io::Result<()> {
        let between = self.name.take().ok_or_else(|| io::Error::other("it has no name"))?;
        let folder = &self.folder.descriptor;
        let renamed = rustix::fs::renameat(folder, &between, folder, name);
        if renamed.is_err() {
            self.name = Some(between);
        }
        Ok(renamed?)
    }
}

/// Remove a leftover of a killed process at this name. Only the holder of a file's lock removes it.
fn clear(folder: &Folder, name: &OsStr) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(&folder.descriptor, name, flags, Mode::empty()) else { return };
    let file = File::from(file);
    if file.metadata().is_ok_and(|it| it.is_file()) && lock(&file) && folder.has(name, &file) {
        // If it cannot be removed, the next name is tried.
        let _ = rustix::fs::unlinkat(&folder.descriptor, name, AtFlags::empty());
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The first failure is the one to report; failing to remove the file changes nothing.
            let _ = rustix::fs::unlinkat(&self.folder.descriptor, name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ztfast-save-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn entries(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no folder")]
    fn leftovers_of_killed_writers_are_removed_and_files_of_live_writers_stay() {
        let folder = folder("dead");
        let path = folder.join("a");
        let names: Vec<OsString> = Names::of(OsStr::new("a")).all().take(3).collect();
        std::fs::write(folder.join(&names[0]), "of a killed writer").unwrap();
        let locked = File::create(folder.join(&names[1])).unwrap();
        assert!(lock(&locked));
        // An attacker put this link there: nothing is written through it, and it stays.
        std::os::unix::fs::symlink("victim", folder.join(&names[2])).unwrap();
        for content in ["one", "two"] {
            write_file(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let names: Vec<&str> = names[1..].iter().map(|name| name.to_str().unwrap()).collect();
        let left: Vec<String> = entries(&folder).into_iter().filter(|name| !names.contains(&&**name)).collect();
        let leftover = Names::of(OsStr::new("a")).0 + "-0.tmp";
        assert!(left == ["a"] || left == [leftover.clone(), "a".to_owned()], "{left:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no folder")]
    fn it_works_without_nameless_files() {
        let folder = folder("named");
        let opened = Folder::open(&folder).unwrap();
        let name = OsStr::new("a");
        let names = Names::of(name);
        let first = names.all().next().unwrap();
        std::fs::write(folder.join(&first), "of a killed writer").unwrap();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        clear(&opened, &first);
        let file =
            File::from(rustix::fs::openat(&opened.descriptor, &first, flags, Mode::from_raw_mode(0o666)).unwrap());
        assert!(lock(&file));
        clear(&opened, &first);
        let new = Temporary { folder: &opened, file, name: Some(first.clone()), names: Names::of(name) };
        assert_eq!(entries(&folder).len(), 1, "a locked file stays");
        new.rename(name).unwrap();
        assert_eq!(entries(&folder), ["a"]);
        let file = File::create(folder.join(&first)).unwrap();
        drop(Temporary { folder: &opened, file, name: Some(first), names });
        assert_eq!(entries(&folder), ["a"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
