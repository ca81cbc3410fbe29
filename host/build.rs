//! Lists the test guests for the integration tests, so that a guest without a test does not compile.
//!
//! It writes `guests.rs` with a macro that names every folder `plugins/test-*`. The integration tests include it, and say
//! what each name must be there for:
//!
//! ```ignore
//! include!(concat!(env!("OUT_DIR"), "/guests.rs"));
//!
//! macro_rules! has_a_test {
//!     ($test:ident, $component:literal) => {
//!         #[expect(unused_imports, reason = "a guest without a test of its name must not compile")]
//!         use self::$test as _;
//!     };
//! }
//! foreach_test_guest!(has_a_test);
//! ```
//!
//! `$test` is the guest's name as an identifier (`test_trap`): the name of a test function, or of a module of tests, in the
//! module that has these lines. `$component` is its file, relative to the checkout.

use std::path::Path;
use std::{env, fs, io};

/// Where the plugins are, seen from this package.
const PLUGINS: &str = "../plugins";

fn main() -> io::Result<()> {
    // Cargo would look through all of `plugins`, its target folder included, so only the manifests are watched: the
    // workspace's lists its members, and changes with them.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PLUGINS}/Cargo.toml");

    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let guests = test_guests(Path::new(PLUGINS))?;
    for guest in &guests {
        println!("cargo::rerun-if-changed={PLUGINS}/{guest}/Cargo.toml");
    }
    fs::write(Path::new(&out).join("guests.rs"), foreach_macro(&guests))
}

/// The names of the folders, in order.
fn test_guests(plugins: &Path) -> io::Result<Vec<String>> {
    let mut guests = Vec::new();
    for entry in fs::read_dir(plugins)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("test-") && entry.path().join("Cargo.toml").is_file() {
            guests.push(name);
        }
    }
    guests.sort();
    Ok(guests)
}

fn foreach_macro(guests: &[String]) -> String {
    let calls: String = guests
        .iter()
        .map(|guest| {
            let test = guest.replace('-', "_");
            format!("        $each!({test}, \"plugins/target/components/{guest}.wasm\");\n")
        })
        .collect();
    format!("macro_rules! foreach_test_guest {{\n    ($each:ident) => {{\n{calls}    }};\n}}\n")
}
