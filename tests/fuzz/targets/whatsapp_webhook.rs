#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|body: &[u8]| nodepath::channel::fuzzing::whatsapp_webhook(body));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    nodepath_fuzz::mutate_json(data, size, max_size, seed)
});
