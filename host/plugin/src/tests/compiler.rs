//! Compiling in a process of its own.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::*;

/// One of the executables beside this file.
fn compiler(name: &str) -> compile::Compiling {
    let compilers = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/compilers");
    compile::Compiling::new(Compiler::Child(Path::new(compilers).join(name)))
}

/// Why the compiler of this name compiles nothing.
async fn why(name: &str) -> String {
    let mut compiler = compiler(name);
    compiler.wall = Duration::from_secs(5);
    let compiled = compiler.compile(component("echo")).await;
    compiled.unwrap_err().to_string()
}

#[tokio::test]
async fn the_code_of_the_child_is_that_of_this_process() {
    let compiled = compiler("real")
        .compile(component("test-world"))
        .await
        .unwrap();
    let here = engine::for_compiling().unwrap();
    let expected = here.precompile_component(&component("test-world")).unwrap();
    assert!(compiled == expected);
}

#[tokio::test]
async fn a_component_that_the_child_refuses_is_refused_in_its_words() {
    let module = wat::parse_str("(module)").unwrap();
    let refused = compiler("real").compile(module).await.unwrap_err();
    assert!(
        refused.to_string().contains("cargo component build"),
        "{refused}"
    );
    assert_eq!(
        why("refuses").await,
        "the plugin is refused: it is too green"
    );
}

#[tokio::test]
async fn a_child_that_breaks_or_never_ends_is_the_components_fault() {
    for name in ["dies", "floods"] {
        assert!(why(name).await.contains("takes too much"), "{name}");
    }
    let mut hanging = compiler("hangs");
    hanging.wall = Duration::from_millis(100);
    let refused = hanging.compile(component("echo")).await.unwrap_err();
    assert!(
        refused.to_string().contains("takes too much time;"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_the_hosts_fault() {
    let missing = compiler("missing").compile(component("echo")).await;
    assert!(matches!(missing, Err(Error::Compiler(_))), "{missing:?}");
}

/// Not a test: the child of those above. See `compilers/real`.
#[test]
#[ignore = "run by other tests as their child"]
fn acts_as_the_compiler() {
    compile::limited().unwrap();
    let address_space = getrlimit(Resource::As).maximum;
    assert_eq!(address_space, Some(limits::COMPILE_ADDRESS_SPACE));
    let output = OpenOptions::new()
        .write(true)
        .open("/proc/self/fd/3")
        .unwrap();
    let status = match compile::exchange(io::stdin().lock(), output) {
        Ok(()) => 0,
        Err(Error::Refused(why)) => {
            writeln!(io::stderr(), "{why}").unwrap();
            2
        }
        Err(error) => panic!("{error}"),
    };
    std::process::exit(status);
}
