//! The byte code of modules, kept for as long as the process lives. QuickJS reads strings and functions in place, so what
//! it was loaded from must never move or end; keeping it for ever, once for each different code, makes that so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rquickjs::loader::{Loader, bundle::Bundle};
use rquickjs::{Ctx, Module};

use crate::{Code, Error};

/// The most byte code that one process keeps, in bytes. Workers are replaced long before they see that many versions.
const MOST: usize = 64 << 20;

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// The loader finds modules by name; each is alone in its table, under no name.
type Table = &'static [(&'static str, &'static [u8])];

#[derive(Default)]
struct Kept {
    codes: HashMap<&'static [u8], Table>,
    bytes: usize,
}

/// A module's byte code, which this process compiled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytecode(Table);

impl Bytecode {
    /// Keeps it, unless it is kept already. `code` must come from `Module::write` in this process: the loader trusts it.
    ///
    /// # Errors
    /// The process keeps too much.
    pub fn keep(code: &[u8]) -> Result<Self, Error> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_default();
        if let Some(table) = kept.codes.get(code) {
            return Ok(Self(table));
        }
        if kept.bytes + code.len() > MOST {
            return Err(Error::new(
                Code::Busy,
                format!("this process has loaded {MOST} bytes of different functions and takes no more; restart it"),
            ));
        }
        let code: &'static [u8] = Box::leak(code.into());
        let table: Table = Box::leak(Box::new([("", code)]));
        kept.bytes += code.len();
        kept.codes.insert(code, table);
        Ok(Self(table))
    }

    /// Declares the module in a context.
    pub fn load<'js>(self, ctx: &Ctx<'js>) -> rquickjs::Result<Module<'js>> {
        Bundle(self.0).load(ctx, "", None)
    }
}
