//! The intersection of two sets of policies: summaries first, then blocks of 512 policies, with the widest instructions
//! that the processor has.
//!
//! A set consists of a summary, which has a bit for each block that the set holds, and of these blocks in order, each
//! one cache line. Blocks of policies that ask nothing of a side are in no set of that side: masks of the layer mark
//! them.

use ztfast_bundle::{BLOCK_BITS, BLOCK_WORDS, Bundle, LayerRec};

type Block = [u64; BLOCK_WORDS];

/// An iterator over the policies of a layer that both classes admit, by their bits, in order.
pub(crate) struct Candidates<'b> {
    sets: &'b [u64],
    simd: SimdLevel,
    /// The current word of the summaries, and its bits that are left.
    word: usize,
    left: u64,
    summary: usize,
    /// The places of the masks, the summaries and the next blocks: of the principal, and of the resource.
    sides: [SideOf; 2],
    /// The current block.
    block: Block,
    block_number: usize,
    /// The next word of the block.
    next: usize,
}

#[derive(Clone, Copy)]
struct SideOf {
    mask: usize,
    set: usize,
    blocks: usize,
    /// The bits of the current summary word that come from the set alone, without the mask.
    bits: u64,
}

impl<'b> Candidates<'b> {
    /// Start at the first policy. `None` if the layer's tables lead nowhere.
    #[inline]
    pub fn new(bundle: &'b Bundle, layer: &LayerRec, principal: u32, resource: u32, simd: SimdLevel) -> Option<Self> {
        let summary = layer.summary as usize;
        let padded = summary.next_multiple_of(BLOCK_WORDS);
        let masks = layer.masks as usize * BLOCK_WORDS;
        let places = bundle.set_places();
        let side = |number: usize, place: usize| {
            let set = *places.get(layer.table as usize + place)? as usize * BLOCK_WORDS;
            Some(SideOf { mask: masks + number * padded, set, blocks: set + padded, bits: 0 })
        };
        let sides = [side(0, principal as usize)?, side(1, layer.principals as usize + resource as usize)?];
        let mut candidates = Self {
            sets: bundle.sets(),
            simd,
            word: 0,
            left: 0,
            summary,
            sides,
            block: [0; BLOCK_WORDS],
            block_number: 0,
            next: BLOCK_WORDS,
        };
        if summary > 0 {
            candidates.load_word()?;
        }
        Some(candidates)
    }

    /// Prefetch the sets of two classes.
    #[inline]
    pub fn prefetch(bundle: &Bundle, layer: &LayerRec, (principal, resource): (u32, u32)) {
        let places = bundle.set_places();
        for place in [principal as usize, layer.principals as usize + resource as usize] {
            if let Some(&line) = places.get(layer.table as usize + place) {
                ztfast_pages::prefetch(bundle.sets(), line as usize * BLOCK_WORDS);
            }
        }
    }

    /// Load the current word of the summaries.
    fn load_word(&mut self) -> Option<()> {
        let mut both = u64::MAX;
        for side in &mut self.sides {
            side.bits = *self.sets.get(side.set + self.word)?;
            both &= side.bits | *self.sets.get(side.mask + self.word)?;
        }
        self.left = both;
        Some(())
    }

    /// Return the next policy's bit, or an inner `None` at the end; the outer `None` if the tables lead nowhere.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // a layer has fewer than 2^32 policies
    #[allow(clippy::option_option)] // the end and tables that lead nowhere are two different things
    pub fn next_bit(&mut self) -> Option<Option<u32>> {
        loop {
            while let Some(word) = self.block.get_mut(self.next) {
                if *word != 0 {
                    let bit = word.trailing_zeros() as usize;
                    *word &= *word - 1;
                    return Some(Some((self.block_number * BLOCK_BITS + self.next * 64 + bit) as u32));
                }
                self.next += 1;
            }
            while self.left == 0 {
                // The blocks of one summary word lie before those of the next.
                for side in &mut self.sides {
                    side.blocks += side.bits.count_ones() as usize * BLOCK_WORDS;
                }
                self.word += 1;
                if self.word >= self.summary {
                    return Some(None);
                }
                self.load_word()?;
            }
            let bit = self.left.trailing_zeros();
            self.left &= self.left - 1;
            let blocks = [self.block_of(0, bit)?, self.block_of(1, bit)?];
            self.block = self.simd.and(blocks[0], blocks[1]);
            self.block_number = self.word * 64 + bit as usize;
            self.next = 0;
        }
    }

    /// Skip the rest of the current block.
    pub fn skip_block(&mut self) {
        self.next = BLOCK_WORDS;
    }

    /// Return a side's block: all ones if the layer's mask, and not the set, covers the block.
    #[inline]
    fn block_of(&self, side: usize, bit: u32) -> Option<&'b Block> {
        const ALL: Block = [u64::MAX; BLOCK_WORDS];
        let side = self.sides.get(side)?;
        if side.bits >> bit & 1 == 0 {
            return Some(&ALL);
        }
        let before = (side.bits & ((1 << bit) - 1)).count_ones() as usize;
        self.sets.get(side.blocks + before * BLOCK_WORDS..)?.first_chunk()
    }
}

/// The instructions that intersect sets of policies. All give the same result; wider ones take fewer steps.
///
/// Only this module creates values, and only for instructions that the processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimdLevel(Width);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl SimdLevel {
    /// The instructions that every processor of this architecture has.
    pub const PLAIN: Self = Self(Width::Plain);

    /// Return all levels that this processor has, the widest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::PLAIN];
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx2") {
                all.push(Self(Width::Avx2));
            }
            if std::is_x86_feature_detected!("avx512f") {
                all.push(Self(Width::Avx512));
            }
        }
        all
    }

    /// Intersect two blocks.
    #[inline]
    fn and(self, a: &Block, b: &Block) -> Block {
        match self.0 {
            Width::Plain => and_plain(a, b),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes this value, and only if the processor has AVX2.
            Width::Avx2 => unsafe { and_avx2(a, b) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: only `available` makes this value, and only if the processor has AVX-512F.
            Width::Avx512 => unsafe { and_avx512(a, b) },
        }
    }
}

impl Default for SimdLevel {
    /// Return the widest level that this processor has.
    fn default() -> Self {
        Self::available().last().copied().unwrap_or(Self::PLAIN)
    }
}

#[inline]
fn and_plain(a: &Block, b: &Block) -> Block {
    std::array::from_fn(|at| a[at] & b[at])
}

/// Intersect two blocks; the compiler makes two instructions of it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn and_avx2(a: &Block, b: &Block) -> Block {
    and_plain(a, b)
}

/// Intersect two blocks; the compiler makes one instruction of it.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn and_avx512(a: &Block, b: &Block) -> Block {
    and_plain(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_levels_agree() {
        // A xorshift generator, so that each run of the test is the same.
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut number = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for round in 0..10_000_u32 {
            // Mix full, empty and sparse words.
            let mut block = |thin: bool| -> Block {
                std::array::from_fn(|_| match number() % 8 {
                    0 => 0,
                    1 => u64::MAX,
                    _ if thin => number() & number() & number(),
                    _ => number(),
                })
            };
            let (a, b) = (block(round % 2 == 0), block(round % 3 == 0));
            let expected: Block = std::array::from_fn(|at| a[at] & b[at]);
            for simd in SimdLevel::available() {
                assert_eq!(simd.and(&a, &b), expected, "{simd:?} {a:x?} {b:x?}");
            }
        }
    }
}
