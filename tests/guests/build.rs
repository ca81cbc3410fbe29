//! Lists `wat/*.wat` for the tests: `foreach_wat_guest!` names each, so that one without an expectation does not compile.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=wat");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let mut names = Vec::new();
    for entry in fs::read_dir("wat")? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|ending| ending == "wat") {
            names.push(name.into_owned());
        }
    }
    names.sort();
    fs::write(Path::new(&out).join("guests.rs"), listed(&names))
}

fn listed(names: &[String]) -> String {
    let (mut texts, mut calls) = (String::new(), String::new());
    for name in names {
        let folder = "env!(\"CARGO_MANIFEST_DIR\")";
        texts.push_str(&format!(
            "    (\"{name}\", include_str!(concat!({folder}, \"/wat/{name}.wat\"))),\n"
        ));
        calls.push_str(&format!(
            "        $each!({}, \"{name}\");\n",
            name.replace('-', "_")
        ));
    }
    format!(
        "const GUESTS: &[(&str, &str)] = &[\n{texts}];\n\n\
         /// Calls a macro for each guest of `wat/`, with its name as an identifier and as a text.\n\
         #[macro_export]\n\
         macro_rules! foreach_wat_guest {{\n    ($each:ident) => {{\n{calls}    }};\n}}\n"
    )
}
