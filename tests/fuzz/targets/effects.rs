#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| nodepath_plugin::fuzzing::effects(input));
