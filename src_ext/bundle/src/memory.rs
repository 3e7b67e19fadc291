//! A bundle's bytes in memory of our own: whoever changes, cuts or replaces the file changes no decision.
//!
//! A file is opened once, read once from its beginning to its end, and never looked at again; every check is of the copy.
//! A small one goes to anonymous memory that is then made read-only. A large one goes to a memory file (memfd) with all
//! seals: nobody can write it any more, not even this process, and processes that are given its descriptor share its pages.

use crate::file::{self, OpenError};
use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::{FileType, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use zerocopy::IntoBytes;

/// Larger files go to sealed memory: what others can share is worth a descriptor.
const SHARED: u64 = 4 << 20;
/// Bytes that are read at once: they stay in the processor's cache until they are written.
const CHUNK: usize = 1 << 20;
/// Two MiB: the large pages of x86-64 and aarch64.
const LARGE_PAGE_BITS: u8 = 21;

/// Fills some room with the file's bytes from a place on.
type ReadAt<'a> = &'a dyn Fn(&mut [u8], u64) -> Result<(), OpenError>;

/// Where the bytes of a bundle are.
pub(crate) enum Data {
    /// In words, because the tables want eight-byte alignment.
    Owned(Box<[u64]>),
    /// So many bytes of anonymous memory, read-only.
    Anonymous(Mmap, usize),
    /// A sealed memory file.
    Sealed(Mmap, OwnedFd),
}

impl Data {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(words) => words.as_bytes(),
            Self::Anonymous(map, bytes) => map.get(..*bytes).unwrap_or_default(),
            Self::Sealed(map, _) => map,
        }
    }

    /// A descriptor of sealed memory that holds the bytes: this memory itself, where it is sealed.
    #[cfg(target_os = "linux")]
    pub fn share(&self) -> io::Result<OwnedFd> {
        if let Self::Sealed(_, memory) = self {
            return memory.try_clone();
        }
        let memory = memory_file()?;
        memory.write_all_at(self.bytes(), 0)?;
        seal(&memory)?;
        Ok(memory.into())
    }

    /// The same bytes in anonymous memory; in large pages, from the system's pool of them or, where it keeps none, such as
    /// it can make.
    pub fn copy(&self, large_pages: bool) -> io::Result<Self> {
        let bytes = self.bytes();
        let mut map = if large_pages {
            let mut options = MmapOptions::new();
            options.len(bytes.len().next_multiple_of(1 << LARGE_PAGE_BITS));
            options.clone().huge(Some(LARGE_PAGE_BITS)).map_anon().or_else(|_| options.map_anon())?
        } else {
            MmapMut::map_anon(bytes.len())?
        };
        if large_pages {
            wish_for_large_pages(&map);
        }
        map.get_mut(..bytes.len()).unwrap_or_default().copy_from_slice(bytes);
        Ok(Self::Anonymous(map.make_read_only()?, bytes.len()))
    }
}

/// Only a wish: where the system makes none, or they are of its pool, nothing changes.
fn wish_for_large_pages(map: &MmapMut) {
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

/// Read a file whole. Its header and table of sections are looked at first, so that nothing is read, and no memory taken,
/// for a file that is none or is not as long as it says.
pub(crate) fn read(path: &Path, elements: &[usize]) -> Result<Data, OpenError> {
    let fail = |source| OpenError::Io { path: path.to_owned(), source };
    // Not to wait for the other end of a FIFO, nor to become a terminal's process: neither is read.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())).map_err(|e| fail(e.into()))?;
    let file = File::from(file);
    let before = file.metadata().map_err(fail)?;
    if !before.is_file() {
        return Err(OpenError::Kind { what: kind(before.mode()) });
    }
    let length = before.len();
    #[cfg(target_os = "linux")]
    if length > 0 && is_sealed(&file, &before) {
        // SAFETY: a mapping is sound while nobody writes or cuts the file. The seals forbid it to everybody, for good, and
        // all its pages are there.
        let map = unsafe { MmapOptions::new().map_copy_read_only(&file) }.map_err(fail)?;
        return Ok(Data::Sealed(map, file.into()));
    }
    let read_at = |into: &mut [u8], from: u64| match file.read_exact_at(into, from) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(OpenError::Changed),
        Err(error) => Err(fail(error)),
    };
    let mut head = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(file::head_length(elements))];
    read_at(&mut head, 0)?;
    file::check(&head, length, elements)?;
    let missing = |source| OpenError::Copy { bytes: length, source };
    let size = usize::try_from(length).ok().filter(|&size| size <= isize::MAX.cast_unsigned());
    let size = size.ok_or_else(|| missing(io::ErrorKind::OutOfMemory.into()))?;
    if length > SHARED
        && let Some(room) = room().filter(|&room| length > room)
    {
        return Err(missing(io::Error::other(format!("there are {room}"))));
    }
    let data = if let Some(data) = sealed(length, &read_at)? {
        data
    } else {
        let mut map = MmapMut::map_anon(size).map_err(missing)?;
        if length > SHARED {
            wish_for_large_pages(&map);
        }
        read_at(&mut map, 0)?;
        Data::Anonymous(map.make_read_only().map_err(missing)?, size)
    };
    let after = file.metadata().map_err(fail)?;
    let stamp = |of: &std::fs::Metadata| (of.len(), of.mtime(), of.mtime_nsec());
    if stamp(&before) != stamp(&after) {
        return Err(OpenError::Changed);
    }
    Ok(data)
}

fn kind(mode: u32) -> &'static str {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "no file",
    }
}

/// Copy a large file to sealed memory. `None` where it is small, and where the system has no such memory for us: a sandbox
/// may forbid it, and a limit on the size of files counts for it.
#[cfg(target_os = "linux")]
fn sealed(length: u64, read_at: ReadAt<'_>) -> Result<Option<Data>, OpenError> {
    // Whoever writes a file beyond the limit gets a signal that ends him.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize).current;
    if length <= SHARED || limit.is_some_and(|limit| limit < length) {
        return Ok(None);
    }
    let Ok(memory) = memory_file() else { return Ok(None) };
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    while at < length {
        let size = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = chunk.get_mut(..size).unwrap_or_default();
        read_at(chunk, at)?;
        if memory.write_all_at(chunk, at).is_err() {
            return Ok(None);
        }
        at += size as u64;
    }
    if seal(&memory).is_err() {
        return Ok(None);
    }
    // SAFETY: a mapping is sound while nobody writes or cuts the file: it has just been sealed against both, for good.
    // (Private, because kernels before 6.7 refuse shared mappings of sealed memory; its pages are shared all the same.)
    let map = unsafe { MmapOptions::new().map_copy_read_only(&memory) };
    Ok(map.ok().map(|map| Data::Sealed(map, memory.into())))
}

#[cfg(not(target_os = "linux"))]
fn sealed(_: u64, _: ReadAt<'_>) -> Result<Option<Data>, OpenError> {
    Ok(None)
}

#[cfg(target_os = "linux")]
fn memory_file() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the second flag; some systems demand it.
    let made = memfd_create("ztfast-bundle", flags | MemfdFlags::NOEXEC_SEAL);
    Ok(made.or_else(|_| memfd_create("ztfast-bundle", flags))?.into())
}

#[cfg(target_os = "linux")]
const SEALS: rustix::fs::SealFlags = rustix::fs::SealFlags::WRITE
    .union(rustix::fs::SealFlags::SHRINK)
    .union(rustix::fs::SealFlags::GROW)
    .union(rustix::fs::SealFlags::SEAL);

#[cfg(target_os = "linux")]
fn seal(memory: &File) -> io::Result<()> {
    Ok(rustix::fs::fcntl_add_seals(memory, SEALS)?)
}

/// Whether it is memory that nobody can write or cut any more, and all of it is there: a page that is not could not be had
/// when it is read, and in large pages of the system's pool each one may be such.
#[cfg(target_os = "linux")]
fn is_sealed(file: &File, metadata: &std::fs::Metadata) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
        && rustix::fs::fstatfs(file).is_ok_and(|system| u64::try_from(system.f_type) == Ok(TMPFS))
        && metadata.blocks().saturating_mul(512) >= metadata.len()
}

/// How many bytes of memory the system and the process's group have, as far as they say: reading more would not fail but
/// end somebody.
#[cfg(target_os = "linux")]
fn room() -> Option<u64> {
    let system = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        Some(kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
    });
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let own = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        let folders =
            Path::new(own.trim_start_matches('/')).ancestors().map(|part| Path::new("/sys/fs/cgroup").join(part));
        let limits = folders.filter_map(|folder| std::fs::read_to_string(folder.join("memory.max")).ok());
        limits.filter_map(|limit| limit.trim().parse().ok()).min()
    });
    system.into_iter().chain(group).min()
}

#[cfg(not(target_os = "linux"))]
fn room() -> Option<u64> {
    None
}
