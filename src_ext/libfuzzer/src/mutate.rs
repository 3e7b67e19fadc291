//! Changes a file: words of its tables become numbers that are likely to cause errors, records are copied over others,
//! and sections shrink and grow. The hashes are then corrected, except in one file in 32, whose plain bytes change.

use crate::sections::{File, Section};
use fastrand::Rng;

/// The section that holds the description, as JSON.
const DESCRIPTION: usize = 0;

/// Change a file. `bytes` changes bytes arbitrarily, and gets the largest length that it may make. A file that cannot
/// be parsed is left to `bytes` as a whole.
#[must_use]
pub fn mutate(file: &[u8], most: usize, seed: u32, bytes: &mut dyn FnMut(&mut Vec<u8>, usize)) -> Vec<u8> {
    let mut rng = Rng::with_seed(u64::from(seed));
    let whole = |bytes: &mut dyn FnMut(&mut Vec<u8>, usize)| {
        let mut file = file.to_vec();
        bytes(&mut file, most);
        file
    };
    if rng.u8(..32) == 0 {
        return whole(bytes);
    }
    let Some(mut changed) = File::read(file).filter(|file| !file.sections.is_empty()) else { return whole(bytes) };
    for _ in 0..rng.usize(1..=4) {
        change(&mut changed, &mut rng, bytes);
    }
    let changed = changed.write();
    if changed.len() > most { file.to_vec() } else { changed }
}

fn change(file: &mut File, rng: &mut Rng, bytes: &mut dyn FnMut(&mut Vec<u8>, usize)) {
    let others: Vec<u8> = file.sections[rng.usize(..file.sections.len())].bytes.clone();
    let at = rng.usize(..file.sections.len());
    let section = &mut file.sections[at];
    if at == DESCRIPTION {
        return change_json(&mut section.bytes, rng);
    }
    let (element, elements) = (section.element, section.bytes.len() / section.element);
    if elements == 0 {
        section.bytes = (0..element * rng.usize(..4)).map(|_| rng.u8(..3)).collect();
        return;
    }
    match rng.u8(..8) {
        0..=2 => change_words(section, rng),
        3 => {
            let (from, to) = (rng.usize(..elements) * element, rng.usize(..elements) * element);
            section.bytes.copy_within(from..from + element, to);
        }
        4 => section.bytes.truncate(rng.usize(..elements) * element),
        5 => {
            let from = rng.usize(..elements) * element;
            section.bytes.extend_from_within(from..from + element);
        }
        6 => {
            // A number from another table is likely to be an index of something.
            let from = rng.usize(..=others.len() / 4) * 4;
            let to = rng.usize(..section.bytes.len()) / 4 * 4;
            let (Some(from), Some(to)) = (others.get(from..from + 4), section.bytes.get_mut(to..to + 4)) else {
                return;
            };
            to.copy_from_slice(from);
        }
        _ => {
            let most = section.bytes.len() + 4 * element;
            bytes(&mut section.bytes, most);
            section.bytes.truncate(section.bytes.len() / element * element);
        }
    }
}

/// Set one word, or all words at the same place of their records, to one number.
fn change_words(section: &mut Section, rng: &mut Rng) {
    let number = number(rng).to_le_bytes();
    let words = section.bytes.len() / 4;
    let column = rng.u8(..4) == 0;
    let step = if column { (section.element / 4).max(1) } else { words.max(1) };
    let first = rng.usize(..words.max(1));
    let first = if column { first % step } else { first };
    for word in section.bytes.chunks_exact_mut(4).skip(first).step_by(step) {
        word.copy_from_slice(&number);
    }
}

/// Return a number that is likely to cause errors.
fn number(rng: &mut Rng) -> u32 {
    let small = rng.u32(..40);
    match rng.u8(..8) {
        0 => 0,
        1 => 1,
        2 | 3 => small,
        4 => u32::MAX,
        5 => u32::MAX - small,
        6 => 1 << rng.u8(..32),
        _ => rng.u32(..),
    }
}

/// Replace a number in a text, or remove or repeat a part between two commas, so that the text often stays JSON.
fn change_json(text: &mut Vec<u8>, rng: &mut Rng) {
    let is_digit = |at: usize, text: &[u8]| text.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> = (1..text.len()).filter(|&at| is_digit(at, text) && !is_digit(at - 1, text)).collect();
    if let Some(&start) = rng.choice(&starts).filter(|_| rng.u8(..4) > 0) {
        let end = (start..text.len()).find(|&at| !is_digit(at, text)).unwrap_or(text.len());
        let number = if rng.bool() { u64::from(number(rng)) } else { rng.u64(..) >> rng.u8(..64) };
        text.splice(start..end, number.to_string().into_bytes());
        return;
    }
    // The text from one comma to another is often a whole field, or an element of a list.
    let commas: Vec<usize> = (0..text.len()).filter(|&at| text[at] == b',').collect();
    let (Some(&one), Some(&other)) = (rng.choice(&commas), rng.choice(&commas)) else { return };
    let field = text[one.min(other)..one.max(other)].to_vec();
    if rng.bool() {
        text.drain(one.min(other)..one.max(other));
    } else {
        text.splice(one..one, field);
    }
}
