//! Fuzzes certificates and CRLs: whatever they are, the verifier returns, and does not panic.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use ztfast_libfuzzer::certificates;

fuzz_target!(|input: &[u8]| {
    let _ = certificates::verify(input);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let input = certificates::mutate(&data[..size], max_size, seed, &mut |bytes, most| {
        let size = bytes.len();
        bytes.resize(size.max(most), 0);
        let size = fuzzer_mutate(bytes, size, most);
        bytes.truncate(size);
    });
    let size = input.len().min(max_size);
    data[..size].copy_from_slice(&input[..size]);
    size
});
