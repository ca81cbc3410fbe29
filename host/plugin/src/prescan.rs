//! A look at an uploaded component before anything else touches it: whether it is one, how large it is, and what it wants.
//! It reads the bytes once, keeps next to nothing, and says in an author's words what is wrong.

use wasmparser::{Encoding, FunctionBody, Operator, Parser, Payload};
use wasmtime::Engine;

use super::Error;
use super::limits::{
    BLOCK_NESTING, BODY_BYTES, COMPONENT_BYTES, COMPONENT_NESTING, FUNCTIONS, LOCALS, NAMES, PARTS,
};

/// What a component says of itself from the outside.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outside {
    /// What it wants.
    pub(super) imports: Vec<String>,
    /// What it offers.
    pub(super) exports: Vec<String>,
}

/// Looks at the bytes of an upload.
pub(super) fn prescan(bytes: &[u8]) -> Result<Outside, Error> {
    if bytes.len() > COMPONENT_BYTES {
        return refuse(format!(
            "it has more than the {COMPONENT_BYTES} bytes that it may have; strip it of debug information (`strip = true` in its profile)"
        ));
    }
    if Engine::detect_precompiled(bytes).is_some() {
        return refuse(
            "it is already compiled to machine code, which a host must never load from elsewhere; give it the `.wasm` component",
        );
    }
    if Parser::is_core_wasm(bytes) {
        return refuse(
            "it is a WebAssembly module, not a component: build it with `cargo component build`",
        );
    }
    if !Parser::is_component(bytes) {
        return refuse(
            "it is not WebAssembly: build it with `cargo component build` and give the `.wasm` file",
        );
    }
    let mut scan = Scan::default();
    for payload in Parser::new(0).parse_all(bytes) {
        scan.take(&payload.map_err(broken)?)?;
    }
    Ok(scan.outside)
}

#[derive(Default)]
struct Scan {
    outside: Outside,
    depth: usize,
    parts: u32,
    functions: u64,
}

impl Scan {
    fn take(&mut self, payload: &Payload<'_>) -> Result<(), Error> {
        match payload {
            Payload::Version { encoding, .. } => self.enter(*encoding),
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                Ok(())
            }
            Payload::ComponentImportSection(section) if self.depth == 1 => {
                for import in section.clone() {
                    self.outside
                        .imports
                        .push(import.map_err(broken)?.name.name.to_owned());
                    self.bounded()?;
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) if self.depth == 1 => {
                for export in section.clone() {
                    self.outside
                        .exports
                        .push(export.map_err(broken)?.name.name.to_owned());
                    self.bounded()?;
                }
                Ok(())
            }
            Payload::CodeSectionEntry(body) => self.function(body),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, encoding: Encoding) -> Result<(), Error> {
        self.depth += 1;
        self.parts += 1;
        if self.parts > PARTS {
            return refuse(format!(
                "it has more than {PARTS} modules and components in it"
            ));
        }
        if encoding == Encoding::Component && self.depth > COMPONENT_NESTING {
            return refuse(format!(
                "its components nest more than {COMPONENT_NESTING} deep"
            ));
        }
        Ok(())
    }

    fn bounded(&self) -> Result<(), Error> {
        if self.outside.imports.len() + self.outside.exports.len() > NAMES {
            return refuse(format!("it has more than {NAMES} imports and exports"));
        }
        Ok(())
    }

    fn function(&mut self, body: &FunctionBody<'_>) -> Result<(), Error> {
        self.functions += 1;
        if self.functions > FUNCTIONS {
            return refuse(format!("it has more than {FUNCTIONS} functions"));
        }
        let size = body.range().len();
        if size > BODY_BYTES {
            return refuse(format!(
                "one of its functions has {size} bytes and may have {BODY_BYTES}; split it"
            ));
        }
        locals(body)?;
        nesting(body)
    }
}

fn locals(body: &FunctionBody<'_>) -> Result<(), Error> {
    let mut sum = 0_u64;
    for local in body.get_locals_reader().map_err(broken)? {
        let (count, _) = local.map_err(broken)?;
        sum = sum.saturating_add(u64::from(count));
    }
    if sum > LOCALS {
        return refuse(format!(
            "one of its functions has more than {LOCALS} variables"
        ));
    }
    Ok(())
}

fn nesting(body: &FunctionBody<'_>) -> Result<(), Error> {
    let mut depth = 0_u32;
    for operator in body.get_operators_reader().map_err(broken)? {
        match operator.map_err(broken)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => depth += 1,
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > BLOCK_NESTING {
            return refuse(format!(
                "one of its functions nests more than {BLOCK_NESTING} deep"
            ));
        }
    }
    Ok(())
}

fn broken(error: wasmparser::BinaryReaderError) -> Error {
    Error::Refused(format!(
        "it is damaged: {} at byte {}",
        error.message(),
        error.offset()
    ))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused(why.into()))
}
