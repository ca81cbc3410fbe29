//! Components that are refused, in words for their author.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use super::*;

/// A component for a world of its own, whose functions trap.
fn made_for(wit: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).unwrap();
    let world = resolve.select_world(&[package], None).unwrap();
    let mut module = dummy_module(
        &resolve,
        world,
        ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync),
    );
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let encoder = ComponentEncoder::default().module(&module).unwrap();
    encoder.validate(true).encode().unwrap()
}

/// Why the bytes are refused.
async fn why(bytes: &[u8]) -> String {
    match Bench::new().runtime.check(bytes).await {
        Ok(checked) => panic!("{checked:?}"),
        Err(error @ (Error::Refused(_) | Error::Guest(_))) => error.to_string(),
        Err(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_good_component_says_what_it_is() {
    let bench = Bench::new();
    let bytes = component("echo");
    let checked = bench.runtime.check(&bytes).await.unwrap();
    assert_eq!(checked.manifest.name, "echo");
    assert_eq!(checked.digest, Digest::of(&bytes));
    assert_eq!(checked.size_bytes, bytes.len() as u64);
    let effects = "nodepath:plugin/effects@0.1.0".to_owned();
    assert!(checked.imports.contains(&effects), "{checked:?}");
    bench.empty().await;
}

#[tokio::test]
async fn what_is_no_component_is_told_what_it_is() {
    assert_eq!(
        why(b"#!/bin/sh\n").await,
        "the plugin is refused: it is not WebAssembly: build it with `cargo component build` and give the `.wasm` file"
    );
    assert_eq!(
        why(b"").await,
        "the plugin is refused: it is not WebAssembly: build it with `cargo component build` and give the `.wasm` file"
    );
    let module = wat::parse_str("(module)").unwrap();
    assert_eq!(
        why(&module).await,
        "the plugin is refused: it is a WebAssembly module, not a component: build it with `cargo component build`"
    );
    let large = vec![0; limits::COMPONENT_BYTES + 1];
    assert!(why(&large).await.contains("more than the 33554432 bytes"));
    let cut = component("echo");
    assert!(why(&cut[..cut.len() / 2]).await.contains("it is damaged"));
}

#[tokio::test]
async fn a_precompiled_component_is_refused() {
    let code = engine::for_compiling()
        .unwrap()
        .precompile_component(&component("echo"))
        .unwrap();
    assert!(why(&code).await.contains("already compiled"));
}

#[tokio::test]
async fn a_component_for_another_host_is_told_what_differs() {
    let foreign = why(&component("test-world")).await;
    assert!(
        foreign.contains("`test:elsewhere/engine@1.0.0` (not part of the world"),
        "{foreign}"
    );
    let empty = wat::parse_str("(component)").unwrap();
    insta::assert_snapshot!(why(&empty).await, @"the plugin is refused: it does not export `nodepath:plugin/manifest@0.1.0` and `nodepath:plugin/handler@0.1.0`: build it for the world `nodepath:plugin/conversation@0.1.0`");
}

#[tokio::test]
async fn an_export_of_another_type_is_refused() {
    let mistyped = made_for(
        "package nodepath:plugin@0.1.0;
        interface handler { handle: func(turn: string) -> string; }
        interface manifest { describe: func() -> string; }
        world conversation { export handler; export manifest; }",
    );
    let why = why(&mistyped).await;
    assert!(why.contains("does not fit the world"), "{why}");
}

#[tokio::test]
async fn an_import_of_another_type_is_refused() {
    let real = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/clock.wit"));
    let changed = real
        .unwrap()
        .replace("random-u64: func() -> u64", "random-u64: func() -> u32");
    let wit = format!(
        "package nodepath:plugin@0.1.0;
        interface types {{ type instant-ms = u64; type duration-ms = u64; }}
        interface handler {{ handle: func(); }}
        interface manifest {{ describe: func(); }}
        world conversation {{ import clock; export handler; export manifest; }}
        {changed}"
    );
    let why = why(&made_for(&wit)).await;
    assert!(why.contains("random-u64"), "{why}");
}

#[tokio::test]
async fn a_plugin_that_can_not_say_what_it_is_is_refused() {
    let why = why(&component("test-manifest")).await;
    assert!(why.contains("the plugin failed: trap:"), "{why}");
    assert!(
        why.contains("test-manifest does not say what it is"),
        "{why}"
    );
}

#[tokio::test]
async fn what_is_made_to_choke_the_compiler_is_refused_before_it() {
    let module = |function: &str| {
        let text = format!("(component (core module (func {function})))");
        wat::parse_str(text).unwrap()
    };
    let deep = format!("{}{}", "block ".repeat(9_000), "end ".repeat(9_000));
    assert!(
        why(&module(&deep))
            .await
            .contains("nests more than 8192 deep")
    );
    let wide = "(local i32)".repeat(20_001);
    assert!(
        why(&module(&wide))
            .await
            .contains("more than 20000 variables")
    );
    let long = "nop ".repeat(limits::BODY_BYTES + 1);
    assert!(why(&module(&long)).await.contains("split it"));
    let nested = format!("{}{}", "(component ".repeat(10), ")".repeat(10));
    assert!(
        why(&wat::parse_str(nested).unwrap())
            .await
            .contains("nest more than 8 deep")
    );
    let functions = "(func)".repeat(150_001);
    let crowd = format!("(component (core module {functions}))");
    assert!(
        why(&wat::parse_str(crowd).unwrap())
            .await
            .contains("more than 150000 functions")
    );
    let many = format!("(component {})", "(core module)".repeat(300));
    assert!(
        why(&wat::parse_str(many).unwrap())
            .await
            .contains("more than 256 modules")
    );
}

#[tokio::test]
async fn what_no_slot_has_room_for_is_refused() {
    let module = "(core module $m (memory 10000))";
    let large = format!("(component {module} (core instance (instantiate $m)))");
    let refused = Bench::new().load(wat::parse_str(large).unwrap()).await;
    let why = refused.unwrap_err().to_string();
    assert!(
        why.contains("begins with more than the sandbox has"),
        "{why}"
    );
}

#[tokio::test]
async fn what_the_sandbox_has_turned_off_is_refused() {
    let off = [
        ("(memory i64 1)", "memory64"),
        ("(memory 1 1 shared)", "threads"),
        ("(memory 1) (memory 1)", "memories"),
    ];
    let engine = engine::for_compiling().unwrap();
    for (module, what) in off {
        let bytes = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        let error = engine.precompile_component(&bytes).unwrap_err();
        assert!(format!("{error:#}").contains(what), "{error:#}");
    }
}
