//! The hand-written server with RocksDB as its log: one batch and one sync for a group.

use hexafn_rig::Result;
use hexafn_rig::raw::{Log, serve};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

struct Rocks {
    db: DB,
    group: WriteBatch,
    next: u64,
}

impl Log for Rocks {
    fn open(folder: &str) -> Result<Self> {
        let mut options = Options::default();
        options.create_if_missing(true);
        Ok(Self { db: DB::open(&options, format!("{folder}/rocks"))?, group: WriteBatch::default(), next: 0 })
    }

    fn add(&mut self, event: &[u8]) {
        self.next += 1;
        self.group.put(self.next.to_be_bytes(), event);
    }

    fn sync(&mut self) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(std::mem::take(&mut self.group), &options)?;
        Ok(())
    }
}

#[actix_web::main]
async fn main() -> Result<()> {
    serve::<Rocks>().await
}
