//! The file format: a header, a table of sections, and the sections; how they are laid out and checked.
//!
//! ```text
//! 0    magic (8)  version (4)  sections (4)  length (8)  zero (8)  hash of header and table (32)
//! 64   per section: kind (4)  element size (4)  offset (8)  length (8)  zero (8)  hash of the section (32)
//! ...  the sections, each from a multiple of 64, zero up to the next
//! ```
//! Hashes are BLAKE3. The header's hash is computed with its own field zero. A section's hash covers its padding.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The version of the format. A reader accepts its own version only.
pub const FORMAT_VERSION: u32 = 4;

const MAGIC: [u8; 8] = *b"ztfast\x1a\n";
const ALIGN: usize = 64;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    sections: u32,
    length: u64,
    reserved: u64,
    hash: [u8; 32],
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SectionRec {
    kind: u32,
    element: u32,
    offset: u64,
    length: u64,
    reserved: u64,
    hash: [u8; 32],
}

const HEADER: usize = size_of::<Header>();
const SECTION: usize = size_of::<SectionRec>();

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file could not be read.
    #[error("{path}: cannot open the bundle: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not a bundle.
    #[error("this is not a ztfast bundle: its magic number is missing. Make one with `ztfast compile`")]
    Foreign,
    /// The bundle has another version of the format.
    #[error("the bundle has format version {found}, this ztfast reads version {FORMAT_VERSION}. Compile it again")]
    Version {
        /// The version found.
        found: u32,
    },
    /// The file is shorter or longer than its header says.
    #[error(
        "the bundle is {found} bytes long but should have {wanted}: it was cut or padded. Copy or compile it again"
    )]
    Length {
        /// The bytes that the header requires, or the size of a header.
        wanted: u64,
        /// Bytes found.
        found: u64,
    },
    /// The path names something other than a regular file.
    #[error("this is {what}, not a regular file, and a bundle must be one")]
    Kind {
        /// The kind of file.
        what: &'static str,
    },
    /// The file was written while it was read.
    #[error(
        "the file was changed while it was read. Write bundles beside their name and rename them, as `save` does, then \
         open it again"
    )]
    Changed,
    /// There is no memory for a copy.
    #[error("the system has no {bytes} bytes of memory for a copy of the bundle: {source}")]
    Copy {
        /// The size of the copy.
        bytes: u64,
        /// The system's error.
        source: io::Error,
    },
    /// A part of the file is damaged.
    #[error("the bundle's {part} is damaged: {what}. Copy or compile it again")]
    Damaged {
        /// The header, or a section by its number.
        part: String,
        /// The damage.
        what: &'static str,
    },
}

/// A section to write: its bytes, and the size of an element.
pub(crate) struct Section<'a> {
    pub bytes: &'a [u8],
    pub element: usize,
}

const fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGN)
}

fn damaged(part: impl Into<String>, what: &'static str) -> OpenError {
    OpenError::Damaged { part: part.into(), what }
}

fn header_hash(header: &Header, table: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(Header { hash: [0; 32], ..*header }.as_bytes());
    hasher.update(table);
    *hasher.finalize().as_bytes()
}

/// Return the hash (BLAKE3) of a store's sources: the texts of the schema and the entities.
#[must_use]
pub fn store_hash(schema: &str, entities: Option<&str>) -> String {
    let mut hasher = blake3::Hasher::new();
    for text in [Some(schema), entities] {
        // Lengths come first, so that different pairs of texts never give the same bytes.
        hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Lay out the sections, numbered in order. The file is built in words, because the tables need eight-byte alignment.
pub(crate) fn write(sections: &[Section<'_>]) -> Box<[u64]> {
    let start = padded(HEADER + sections.len() * SECTION);
    let length = start + sections.iter().map(|s| padded(s.bytes.len())).sum::<usize>();
    let mut words = vec![0_u64; length / size_of::<u64>()].into_boxed_slice();
    let file = words.as_mut_bytes();
    let mut table = Vec::with_capacity(sections.len() * SECTION);
    let mut offset = start;
    for (kind, section) in sections.iter().enumerate() {
        let end = offset + padded(section.bytes.len());
        file[offset..offset + section.bytes.len()].copy_from_slice(section.bytes);
        let record = SectionRec {
            kind: u32::try_from(kind).expect("a few dozen sections"),
            element: u32::try_from(section.element).expect("elements are small"),
            offset: offset as u64,
            length: section.bytes.len() as u64,
            reserved: 0,
            hash: *blake3::hash(&file[offset..end]).as_bytes(),
        };
        table.extend_from_slice(record.as_bytes());
        offset = end;
    }
    let mut header = Header {
        magic: MAGIC,
        version: FORMAT_VERSION,
        sections: u32::try_from(sections.len()).expect("a few dozen sections"),
        length: length as u64,
        reserved: 0,
        hash: [0; 32],
    };
    header.hash = header_hash(&header, &table);
    file[..HEADER].copy_from_slice(header.as_bytes());
    file[HEADER..HEADER + table.len()].copy_from_slice(&table);
    words
}

/// The place of a section in the file, and its hash.
pub(crate) struct Place {
    /// The section without its padding.
    pub range: Range<usize>,
    hash: [u8; 32],
}

/// Check a section's hash.
pub(crate) fn check_section(file: &[u8], number: usize, place: &Place) -> Result<(), OpenError> {
    let part = || format!("section {number}");
    let body = place.range.start..padded(place.range.end);
    let body = file.get(body).ok_or_else(|| damaged(part(), "it lies outside the file"))?;
    if *blake3::hash(body).as_bytes() != place.hash {
        return Err(damaged(part(), "its hash does not match"));
    }
    Ok(())
}

/// Return the length of the header and the table of sections.
pub(crate) const fn head_length(elements: &[usize]) -> usize {
    padded(HEADER + elements.len() * SECTION)
}

/// Check a file's header and table of sections, and return the content hash and the sections' places. `file` is the
/// file or its beginning, `found` the whole length; `elements` has each section's element size. [`check_section`]
/// checks the sections.
pub(crate) fn check(file: &[u8], found: u64, elements: &[usize]) -> Result<([u8; 32], Vec<Place>), OpenError> {
    let start = head_length(elements);
    let short = |wanted: usize| OpenError::Length { wanted: wanted as u64, found };
    if !file.starts_with(&MAGIC) {
        let cut = file.len() < MAGIC.len() && MAGIC.starts_with(file);
        return Err(if cut { short(start) } else { OpenError::Foreign });
    }
    let (header, _) = Header::read_from_prefix(file).map_err(|_| short(start))?;
    if header.version != FORMAT_VERSION {
        return Err(OpenError::Version { found: header.version });
    }
    if header.length != found {
        return Err(OpenError::Length { wanted: header.length, found });
    }
    if header.sections as usize != elements.len() {
        return Err(damaged("header", "its number of sections is not that of this version"));
    }
    let table = file.get(HEADER..start).ok_or_else(|| short(start))?;
    let (table, padding) = table.split_at(elements.len() * SECTION);
    if header_hash(&header, table) != header.hash {
        return Err(damaged("header", "its hash does not match"));
    }
    if padding.iter().any(|&byte| byte != 0) {
        return Err(damaged("header", "its padding is not zero"));
    }
    let mut places = Vec::with_capacity(elements.len());
    let mut expected = start;
    for (kind, (record, &element)) in table.chunks_exact(SECTION).zip(elements).enumerate() {
        let part = || format!("section {kind}");
        let record = SectionRec::read_from_bytes(record).map_err(|_| damaged(part(), "its entry is truncated"))?;
        let fits = record.kind as usize == kind
            && record.element as usize == element
            && record.offset == expected as u64
            && record.reserved == 0
            && record.length % element as u64 == 0;
        let length = usize::try_from(record.length).ok().filter(|_| fits);
        let end = length.and_then(|length| expected.checked_add(length.checked_next_multiple_of(ALIGN)?));
        let (Some(length), Some(end)) = (length, end) else {
            return Err(damaged(part(), "its entry is not valid"));
        };
        if end as u64 > found {
            return Err(damaged(part(), "it lies outside the file"));
        }
        places.push(Place { range: expected..expected + length, hash: record.hash });
        expected = end;
    }
    if expected as u64 != found {
        return Err(short(expected));
    }
    Ok((header.hash, places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri opens no file in this way")]
    fn a_sparse_file_with_right_hashes_is_refused_before_it_takes_memory() {
        let words = crate::Parts { meta_json: b"{}".to_vec(), ..crate::Parts::default() }.write();
        let mut head = words.as_bytes().to_vec();
        let (mut header, _) = Header::read_from_prefix(&head).unwrap();
        let last = HEADER + (header.sections as usize - 1) * SECTION;
        let mut record = SectionRec::read_from_bytes(&head[last..last + SECTION]).unwrap();
        let more = 1 << 40;
        record.length += more;
        header.length += more;
        head[last..last + SECTION].copy_from_slice(record.as_bytes());
        header.hash = header_hash(&header, &head[HEADER..last + SECTION]);
        head[..HEADER].copy_from_slice(header.as_bytes());
        let folder = std::env::temp_dir().join(format!("ztfast-sparse-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.ztb");
        std::fs::write(&path, &head).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(header.length).unwrap();
        let refused = crate::Bundle::open(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Copy { .. }), "{refused}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
