//! Fuzzes bundle files with right hashes: whatever such a file holds, each call of the engine returns, and none panics.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|file: &[u8]| {
    let _ = ztfast_libfuzzer::decide(file);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let file = ztfast_libfuzzer::mutate(&data[..size], max_size, seed, &mut |bytes, most| {
        let size = bytes.len();
        bytes.resize(size.max(most), 0);
        let size = fuzzer_mutate(bytes, size, most);
        bytes.truncate(size);
    });
    let size = file.len().min(max_size);
    data[..size].copy_from_slice(&file[..size]);
    size
});
