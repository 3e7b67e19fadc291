//! Writing a file so that its name has either its old content or the whole new one, whoever else writes it and wherever the
//! writer ends.
//!
//! The content goes to a file of its own in the same folder, to the disk, and then by one renaming to its name. Where the
//! system can, that file has no name until it is whole, so that whoever is killed leaves nothing. Otherwise its name is one
//! of a few, and its writer holds a lock on it: a name whose lock is free belongs to somebody who was killed, and is taken
//! over by the next.

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
    /// What the system said.
    pub source: io::Error,
}

/// Writers of one name at a time.
const WRITERS: u32 = 10_000;

/// Write a file so that its name has either its old content or the whole new one, even over a crash.
///
/// A link is followed, and what it leads to replaced; one that leads nowhere is refused, and so is what is no regular file.
/// The mode of what is replaced is kept, and its owner and group as far as the system allows; a new file has the mode that
/// the process gives new files.
///
/// # Errors
/// [`SaveError`] names the file and what the system said. It has its old content then, unless it was the folder that could
/// not be brought to the disk.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    write(path, bytes).map_err(|source| SaveError { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, old) = target(path)?;
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let folder = Folder::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    // Nobody may read what replaces a private file, not even before it has its mode.
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
        // It cannot have a name where there is no /proc, say.
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

/// What is to be replaced, or the path of a new file.
fn target(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let old = match path.metadata() {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match path.symlink_metadata() {
                Ok(_) => Err(io::Error::other("it is a link that leads nowhere")),
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
            "it is a FIFO, no regular file"
        } else if kind.is_socket() {
            "it is a socket, no regular file"
        } else {
            "it is a device, no regular file"
        }));
    }
    if !path.symlink_metadata()?.is_symlink() {
        return Ok((path.to_owned(), Some(old)));
    }
    let real = path.canonicalize()?;
    // The system may refuse to follow a link, as somebody else's in a folder for all; it was asked above.
    let same = real.symlink_metadata().is_ok_and(|found| (found.dev(), found.ino()) == (old.dev(), old.ino()));
    if !same {
        return Err(io::Error::other("where the link leads was changed meanwhile"));
    }
    Ok((real, Some(old)))
}

/// Give the new file the owner, group and mode of the old one.
fn keep(new: &File, old: &Metadata) -> io::Result<()> {
    let own = new.metadata()?;
    let mut mode = old.mode() & 0o777;
    if own.uid() != old.uid() {
        // Only the system's administrator gives files away: for others it becomes theirs, as if they had copied it.
        let _ = std::os::unix::fs::fchown(new, Some(old.uid()), None);
    }
    if own.gid() != old.gid() && std::os::unix::fs::fchown(new, None, Some(old.gid())).is_err() {
        // What one group might do is not for another: it may what all may.
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
            // One may write into a folder that one may not read.
            #[cfg(target_os = "linux")]
            Err(Errno::ACCESS) => open(OFlags::PATH),
            other => other,
        };
        Ok(Self { descriptor: opened? })
    }

    /// Bring the folder to the disk, where it can be.
    fn sync(&self) -> io::Result<()> {
        match rustix::io::retry_on_intr(|| rustix::fs::fsync(&self.descriptor)) {
            // One that may not be read, and file systems that do this by themselves.
            Err(Errno::BADF | Errno::INVAL) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a name is this file.
    fn has(&self, name: &OsStr, file: &File) -> bool {
        let there = rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW);
        let own = rustix::fs::fstat(file);
        matches!((there, own), (Ok(there), Ok(own)) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino))
    }
}

/// The new content, on its way to its name. Nothing is left of it when it is dropped.
struct Temporary<'f> {
    folder: &'f Folder,
    file: File,
    /// The name that it has meanwhile.
    name: Option<OsString>,
    names: Names,
}

/// The names that what becomes of a name may have meanwhile. They are as long as any other, however long that one is.
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

/// Lock a file; `None` where the file system has no locks, and `false` where somebody else holds it.
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
    /// A file that has no name yet, where the system has such.
    #[cfg(target_os = "linux")]
    fn nameless(folder: &'f Folder, name: &OsStr, mode: Mode) -> Option<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder.descriptor, ".", flags, mode).ok()?);
        // Before it has a name, so that nobody takes it for somebody's who was killed. Nobody else has it, and without locks
        // nobody takes any.
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
                    // Somebody may have taken it for a dead one's before it was locked. Without locks nobody does.
                    if try_lock(&file) != Some(false) && folder.has(&name, &file) {
                        return Ok(Self { folder, file, name: Some(name), names });
                    }
                }
                Err(Errno::EXIST) => clear(folder, &name),
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("too many write it at once"))
    }

    /// Give it one of the names that it may have meanwhile; whether it has one now.
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

    /// Give it the name, which then is it and nothing else.
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

/// Remove what somebody who was killed left at this name. Whoever removes a file holds its lock, so it is nobody else's.
fn clear(folder: &Folder, name: &OsStr) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(&folder.descriptor, name, flags, Mode::empty()) else { return };
    let file = File::from(file);
    if file.metadata().is_ok_and(|it| it.is_file()) && lock(&file) && folder.has(name, &file) {
        // If it cannot be removed, it is another's, and the next name is tried.
        let _ = rustix::fs::unlinkat(&folder.descriptor, name, AtFlags::empty());
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The first failure is the one to tell; a file that cannot be removed either changes nothing.
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
    fn what_the_dead_left_is_taken_over_and_what_the_living_write_is_not() {
        let folder = folder("dead");
        let path = folder.join("a");
        let names: Vec<OsString> = Names::of(OsStr::new("a")).all().take(3).collect();
        std::fs::write(folder.join(&names[0]), "of a dead one").unwrap();
        let living = File::create(folder.join(&names[1])).unwrap();
        assert!(lock(&living));
        // Somebody put these there: nothing is written through them, and they stay.
        std::os::unix::fs::symlink("victim", folder.join(&names[2])).unwrap();
        for content in ["one", "two"] {
            write_file(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        let names: Vec<&str> = names[1..].iter().map(|name| name.to_str().unwrap()).collect();
        let left: Vec<String> = entries(&folder).into_iter().filter(|name| !names.contains(&&**name)).collect();
        let of_dead = Names::of(OsStr::new("a")).0 + "-0.tmp";
        assert!(left == ["a"] || left == [of_dead.clone(), "a".to_owned()], "{left:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn without_nameless_files_it_is_the_same() {
        let folder = folder("named");
        let opened = Folder::open(&folder).unwrap();
        let name = OsStr::new("a");
        let names = Names::of(name);
        let first = names.all().next().unwrap();
        std::fs::write(folder.join(&first), "of a dead one").unwrap();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
        clear(&opened, &first);
        let file =
            File::from(rustix::fs::openat(&opened.descriptor, &first, flags, Mode::from_raw_mode(0o666)).unwrap());
        assert!(lock(&file));
        clear(&opened, &first);
        let new = Temporary { folder: &opened, file, name: Some(first.clone()), names: Names::of(name) };
        assert_eq!(entries(&folder).len(), 1, "what is locked stays");
        new.rename(name).unwrap();
        assert_eq!(entries(&folder), ["a"]);
        let file = File::create(folder.join(&first)).unwrap();
        drop(Temporary { folder: &opened, file, name: Some(first), names });
        assert_eq!(entries(&folder), ["a"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
