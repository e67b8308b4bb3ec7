//! The kinds of target: one line each.
//!
//! A new kind is a folder beside [`http`](super::http) with a `Settings` type that is its [`Factory`], and a line in the
//! table below; `docs/adding-a-target.md` walks through it. `topic` is not among them: the trigger's commit appends to
//! the topic, in the same batch as its ack, so there is no attempt to make.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::Factory;

/// Reads the settings of a kind from wherever they are written.
pub trait ReadSettings {
    /// The settings; `None` when they are wrong, which is reported by then.
    fn read<T: DeserializeOwned>(self) -> Option<T>;
}

macro_rules! kinds {
    ($($name:literal => $settings:ty),+ $(,)?) => {
        /// The names of the kinds that an attempt is made to.
        pub const NAMES: &[&str] = &[$($name),+];

        /// The settings of a kind; `None` when they are wrong, or there is no such kind.
        pub fn read(kind: &str, reader: impl ReadSettings) -> Option<Box<dyn Factory>> {
            match kind {
                $($name => reader.read::<$settings>().map(|settings| Box::new(settings) as Box<dyn Factory>),)+
                _ => None,
            }
        }

        /// The JSON Schema of the settings of a kind.
        pub fn schema(kind: &str, generator: &mut SchemaGenerator) -> Option<Schema> {
            match kind {
                $($name => Some(<$settings>::json_schema(generator)),)+
                _ => None,
            }
        }
    };
}

kinds! {
    "http" => super::http::Settings,
    "file" => super::file::Settings,
    "kafka" => super::kafka::Settings,
    "nats" => super::nats::Settings,
    "s3" => super::s3::Settings,
    "smtp" => super::smtp::Settings,
    "stdout" => super::stdout::Settings,
    "websocket" => super::websocket::Settings,
}

/// A target as tests write it: the common settings and those of its kind in one text of TOML.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::target::settings::COMMON;
    use crate::target::{Common, Context, Error, Target};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(crate) struct Sample {
        pub common: Common,
        pub factory: Box<dyn Factory>,
    }

    struct Table<'a>(toml::Table, &'a mut Option<String>);

    impl ReadSettings for Table<'_> {
        fn read<T: DeserializeOwned>(self) -> Option<T> {
            self.0.try_into().map_err(|error: toml::de::Error| *self.1 = Some(error.to_string())).ok()
        }
    }

    impl Sample {
        pub(crate) fn read(text: &str) -> Result<Self, String> {
            let whole: toml::Table = toml::from_str(text).map_err(|e| e.to_string())?;
            let common: Common = toml::Value::Table(whole.clone()).try_into().map_err(|e| e.to_string())?;
            let kind = whole.get("kind").and_then(|kind| kind.as_str()).unwrap_or_default().to_owned();
            let own = whole.into_iter().filter(|(key, _)| key != "kind" && !COMMON.contains(&key.as_str())).collect();
            let mut error = None;
            match super::read(&kind, Table(own, &mut error)) {
                Some(factory) => Ok(Self { common, factory }),
                None => Err(error.unwrap_or_else(|| format!("unknown kind `{kind}`"))),
            }
        }

        pub(crate) fn build(&self, context: &Context<'_>) -> Result<Arc<dyn Target>, Error> {
            if let Some(error) = self.common.check().into_iter().next() {
                return Err(error);
            }
            self.factory.build(&self.common, context)
        }
    }
}
