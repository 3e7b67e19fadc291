//! Directories of files that processes share: how such files are made and opened, and whose they must be.
//!
//! Everything is opened by the directory's descriptor, so that a path that changes meanwhile leads nowhere else. A file
//! is made whole before it gets its name, so no process sees it half made.

use crate::ownership::{check_owner, check_user, effective_user};
use crate::process::{Forked, UnsharedFile};
use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a process may do with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Admit, revoke and change sessions; kill and release.
    #[default]
    Authority,
    /// Decide. The state is mapped for reading only.
    Decide,
}

/// Why a file could not be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused something.
    #[error("{}: {what}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not what it should be, or may be changed by others.
    #[error("{}: {why}", path.display())]
    Refused {
        /// The file or directory.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// For reading.
    Read,
    /// For reading and writing.
    Write,
    /// For reading and writing, and it is made if there is none.
    WriteOrMake,
    /// For reading, and for writing at its end.
    Append,
}

/// An open directory, whose owner was checked.
pub struct Directory<'a> {
    path: &'a Path,
    file: File,
    role: Role,
    /// The group whose members may read files that are not private.
    group: Option<u32>,
}

impl<'a> Directory<'a> {
    /// Open a directory, and make it if there is none and `makes`. `missing` says what to do if there is none.
    ///
    /// # Errors
    /// [`FileError`]: also if others than the user could write into it.
    pub fn open(path: &'a Path, role: Role, group: Option<u32>, makes: bool, missing: &str) -> Result<Self, FileError> {
        let io = |what| move |source: io::Error| FileError::Io { path: path.to_owned(), what, source };
        let made = if makes { std::fs::create_dir(path) } else { Err(io::ErrorKind::AlreadyExists.into()) };
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io("the directory of the state cannot be made")(error));
            }
            Ok(()) => {
                let mode = if group.is_some() { 0o750 } else { 0o700 };
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                std::fs::set_permissions(path, permissions).map_err(io("its permissions cannot be set"))?;
                if let Some(group) = group {
                    std::os::unix::fs::chown(path, None, Some(group)).map_err(io("it cannot be given to the group"))?;
                }
            }
            Err(_) => {}
        }
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty());
        if !makes && matches!(file, Err(rustix::io::Errno::NOENT)) {
            return Err(FileError::Refused { path: path.to_owned(), why: missing.to_owned() });
        }
        let file = File::from(file.map_err(|error| io("it cannot be opened")(error.into()))?);
        let about = file.metadata().map_err(io("its owner cannot be read"))?;
        check_owner(&about, role == Role::Decide, group)
            .map_err(|why| FileError::Refused { path: path.to_owned(), why })?;
        Ok(Directory { path, file, role, group })
    }

    /// Return what this process may do with the files.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Return the group whose members may read files that are not private.
    #[must_use]
    pub const fn group(&self) -> Option<u32> {
        self.group
    }

    /// Refuse the directory.
    pub fn refused(&self, why: impl Into<String>) -> FileError {
        FileError::Refused { path: self.path.to_owned(), why: why.into() }
    }

    /// Refuse a file in it.
    pub fn refused_file(&self, name: &str, why: impl Into<String>) -> FileError {
        FileError::Refused { path: self.path.join(name), why: why.into() }
    }

    /// Say what of a file in it the system refused.
    pub fn io(&self, name: &str, what: &'static str) -> impl FnOnce(io::Error) -> FileError + use<> {
        let path = self.path.join(name);
        move |source| FileError::Io { path, what, source }
    }

    fn mode(&self, is_private: bool) -> Mode {
        Mode::from_raw_mode(if self.group.is_some() && !is_private { 0o640 } else { 0o600 })
    }

    /// Open a file; `None` if there is none. A private file that is made is for its user only.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_file(&self, name: &str, how: Opening, is_private: bool) -> Result<Option<File>, FileError> {
        let flags = match how {
            Opening::Read => OFlags::RDONLY,
            Opening::Write => OFlags::RDWR,
            Opening::WriteOrMake => OFlags::RDWR | OFlags::CREATE,
            Opening::Append => OFlags::RDWR | OFlags::APPEND,
        };
        self.open_with(name, flags, is_private)
    }

    /// Open a file as [`Self::open_file`] does, and keep it from forked children, so that its locks end with the
    /// process.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open_unshared(&self, name: &str, how: Opening, is_private: bool) -> Result<Option<UnsharedFile>, FileError> {
        let opened = UnsharedFile::open(|| match self.open_file(name, how, is_private) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        });
        match opened.map_err(self.io(name, "it cannot be kept from forked children"))? {
            Ok(file) => Ok(Some(file)),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    fn open_with(&self, name: &str, flags: OFlags, is_private: bool) -> Result<Option<File>, FileError> {
        // Without `NONBLOCK`, a pipe in the file's place would be waited for.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.file, name, flags, self.mode(is_private)) {
            Ok(file) => Ok(Some(file.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => {
                let owner = rustix::fs::statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW).map(|about| about.st_uid);
                if self.role == Role::Authority && error == rustix::io::Errno::ACCESS {
                    check_user(owner.unwrap_or_else(|_| effective_user()))
                        .map_err(|why| self.refused_file(name, why))?;
                }
                Err(self.io(name, "it cannot be opened")(error.into()))
            }
        }
    }

    /// Return a file that was opened just now.
    ///
    /// # Errors
    /// [`FileError`]: the process was forked meanwhile.
    pub fn opened<'f>(&self, name: &str, file: &'f UnsharedFile) -> Result<&'f File, FileError> {
        file.get().ok_or_else(|| self.refused_file(name, Forked.to_string()))
    }

    /// Check that this process may trust a file, and that it is one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn check_file(&self, name: &str, file: &File) -> Result<Metadata, FileError> {
        let about = file.metadata().map_err(self.io(name, "its size cannot be read"))?;
        check_owner(&about, self.role == Role::Decide, self.group).map_err(|why| self.refused_file(name, why))?;
        if !about.is_file() {
            return Err(self.refused_file(name, "wanted a file: remove it"));
        }
        Ok(about)
    }

    /// Check that nobody but its user can open a file. Who could read it could lock it, and so keep others from
    /// writing.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn check_private(&self, name: &str, file: &File) -> Result<Metadata, FileError> {
        let about = file.metadata().map_err(self.io(name, "its owner cannot be read"))?;
        check_owner(&about, self.role == Role::Decide, None).map_err(|why| self.refused_file(name, why))?;
        if about.mode() & 0o077 != 0 {
            let why = format!("others than its owner may read it (mode {:o}): chmod 600", about.mode() & 0o7777);
            return Err(self.refused_file(name, why));
        }
        Ok(about)
    }

    /// Make a file whole by `fill`, unless another process does it first. The system has room for all its bytes.
    ///
    /// # Errors
    /// [`FileError`], and those of `fill`.
    pub fn make<E: From<FileError>>(
        &self,
        name: &str,
        size: u64,
        is_private: bool,
        fill: impl Fn(&File) -> Result<(), E>,
    ) -> Result<(), E> {
        let fill = |file: &File| self.allocate(name, file, size, is_private).map_err(E::from).and_then(|()| fill(file));
        if let Some(file) = self.open_nameless(name, is_private)? {
            fill(&file)?;
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            // A file that exists already is left as it is.
            match rustix::fs::linkat(rustix::fs::CWD, own, &self.file, name, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => return Ok(()),
                // Without /proc, a file that has no name gets none.
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(self.io(name, "it cannot get its name")(error.into()).into()),
            }
        }
        let number = getrandom::u64().map_err(|error| {
            self.io(name, "the system gives no random numbers")(io::Error::other(error.to_string()))
        })?;
        let temporary = format!("{name}.{number:016x}");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = self.open_with(&temporary, flags, is_private)?;
        let file = file.ok_or_else(|| self.refused("the directory is gone"))?;
        let made = fill(&file).and_then(|()| {
            let (from, flags) = (temporary.as_str(), RenameFlags::NOREPLACE);
            match rustix::fs::renameat_with(&self.file, from, &self.file, name, flags) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(self.io(name, "it cannot be renamed")(error.into()).into()),
            }
        });
        let _ = rustix::fs::unlinkat(&self.file, temporary.as_str(), AtFlags::empty());
        made
    }

    /// Open a file that has no name yet, so that nothing is left of it if this process is killed. `None` where the
    /// filesystem has no such files.
    fn open_nameless(&self, name: &str, is_private: bool) -> Result<Option<File>, FileError> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.file, ".", flags, self.mode(is_private)) {
            Ok(file) => Ok(Some(file.into())),
            // Old kernels take the flag for that of a directory.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => Ok(None),
            Err(error) => Err(self.io(name, "it cannot be made")(error.into())),
        }
    }

    fn allocate(&self, name: &str, file: &File, size: u64, is_private: bool) -> Result<(), FileError> {
        if size > 0 {
            // A file with holes would end its processes when a filesystem is full and a page is needed.
            rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size)
                .map_err(|error| self.io(name, "the system has no room for it")(error.into()))?;
        }
        if let Some(group) = self.group.filter(|_| !is_private) {
            std::os::unix::fs::fchown(file, None, Some(group))
                .map_err(self.io(name, "it cannot be given to the group"))?;
            // The process's mask may have taken the group's right away.
            rustix::fs::fchmod(file, self.mode(is_private))
                .map_err(|error| self.io(name, "its permissions cannot be set")(error.into()))?;
        }
        Ok(())
    }

    /// Write the directory itself to its disk, so that the name of a file that was made survives a loss of power.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_all().map_err(|source| FileError::Io {
            path: self.path.to_owned(),
            what: "the directory cannot be written to its disk",
            source,
        })
    }
}

/// Return what happened to the name of an open file, if it is gone: it was removed, or replaced by another one. One
/// that was only renamed, or lies where this process sees it no longer, is not gone until another file has its name.
#[must_use]
pub fn what_became_of(file: &File, path: &Path) -> Option<&'static str> {
    // What the system does not tell is no reason to deny everything.
    let own = file.metadata().ok()?;
    if own.nlink() == 0 {
        return Some("removed");
    }
    let there = std::fs::symlink_metadata(path).ok()?;
    ((there.dev(), there.ino()) != (own.dev(), own.ino())).then_some("replaced by another one")
}

/// Return the id of the boot; zeros where the system does not tell it.
#[must_use]
pub fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| Some(u8::try_from(digit.to_digit(16)?).unwrap_or(0))).collect();
    let mut id = [0; 16];
    for (to, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *to = pair[0] << 4 | pair[1];
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    const NONE: &str = "there is nothing here";

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ztfast-directory-{name}-{}", std::process::id()))
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no directories")]
    fn a_file_is_made_once_whole_and_for_its_user() {
        let path = folder("made");
        let missing = Directory::open(&path, Role::Authority, None, false, NONE).map(|_| ()).unwrap_err();
        assert!(missing.to_string().ends_with(NONE));
        let group = Some(rustix::process::getegid().as_raw());
        let at = Directory::open(&path, Role::Authority, group, true, NONE).unwrap();
        let make = |name: &str, is_private: bool, text: &str| {
            at.make(name, text.len() as u64, is_private, |mut file: &File| {
                file.write_all(text.as_bytes()).map_err(at.io(name, "it cannot be written"))
            })
        };
        assert!(at.open_file("one", Opening::Read, true).unwrap().is_none());
        for text in ["first", "second"] {
            make("one", true, text).unwrap();
        }
        make("shared", false, "first").unwrap();
        let read = |name: &str| {
            let mut file = at.open_file(name, Opening::Read, true).unwrap().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            (text, at.check_private(name, &file).is_ok(), at.check_file(name, &file).is_ok())
        };
        assert_eq!(read("one"), ("first".to_owned(), true, true));
        assert_eq!(read("shared"), ("first".to_owned(), false, true));
        let modes = ["one", "shared"].map(|name| std::fs::metadata(path.join(name)).unwrap().mode() & 0o777);
        assert_eq!((modes, std::fs::read_dir(&path).unwrap().count()), ([0o600, 0o640], 2));
        at.sync().unwrap();
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no directories")]
    fn what_was_opened_knows_what_became_of_its_name() {
        let path = folder("name");
        let at = Directory::open(&path, Role::Authority, None, true, NONE).unwrap();
        let unshared = at.open_unshared("one", Opening::WriteOrMake, true).unwrap().unwrap();
        let (file, name) = (at.opened("one", &unshared).unwrap(), path.join("one"));
        assert_eq!(what_became_of(file, &name), None);
        std::fs::rename(&name, path.join("other")).unwrap();
        assert_eq!(what_became_of(file, &name), None);
        std::fs::write(&name, "").unwrap();
        assert_eq!(what_became_of(file, &name), Some("replaced by another one"));
        std::fs::remove_file(path.join("other")).unwrap();
        assert_eq!(what_became_of(file, &name), Some("removed"));
        assert!(at.open_unshared("none", Opening::Append, true).unwrap().is_none());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
        let why = Directory::open(&path, Role::Authority, None, true, NONE).map(|_| ()).unwrap_err().to_string();
        assert!(why.contains("others than its owner may write here (mode 777)"), "{why}");
        std::fs::remove_dir_all(path).unwrap();
    }
}
