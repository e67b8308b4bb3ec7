//! The hand-written server with a plain file as its log.

use hexafn_rig::Result;
use hexafn_rig::raw::{Log, serve};
use std::io::Write;

struct Plain {
    file: std::fs::File,
    group: Vec<u8>,
}

impl Log for Plain {
    fn open(folder: &str) -> Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(format!("{folder}/events"))?;
        Ok(Self { file, group: Vec::new() })
    }

    fn add(&mut self, event: &[u8]) {
        self.group.extend_from_slice(event);
        self.group.push(b'\n');
    }

    fn sync(&mut self) -> Result<()> {
        self.file.write_all(&self.group)?;
        self.file.sync_data()?;
        self.group.clear();
        Ok(())
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    serve::<Plain>().await
}
