//! `hexafn lsp`: the language server for `*.hexa` files (functions and modules) and for the TOML of a configuration, over
//! standard input and output (Language Server Protocol 3.17).
//!
//! Everything is checked as it is typed, saved or not: a program by itself at once, and the configuration as a whole as soon
//! as no more messages wait, so that whoever types fast is not waited for.

use lsp_server::{Connection, ErrorCode, Message, Notification, Request, Response};
use lsp_types::notification::{DidChangeTextDocument, DidCloseTextDocument, DidOpenTextDocument, DidSaveTextDocument};
use lsp_types::notification::{LogMessage, Notification as _, PublishDiagnostics};
use lsp_types::request::{Completion, Formatting, GotoDefinition, HoverRequest, Request as _, Shutdown};
use lsp_types::{
    CompletionOptions, HoverProviderCapability, InitializeParams, LogMessageParams, MessageType, OneOf, Position,
    PositionEncodingKind, PublishDiagnosticsParams, Range, SaveOptions, ServerCapabilities, TextDocumentSyncCapability,
    TextDocumentSyncKind, TextDocumentSyncOptions, TextDocumentSyncSaveOptions, TextEdit, Uri,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

mod inside;
mod program;
mod toml;

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client does not speak the protocol, or is gone.
    #[error("the editor does not speak the language server protocol: {0}")]
    Protocol(#[from] lsp_server::ProtocolError),
    /// Something could not be written or read as JSON.
    #[error("a message is not what the protocol says: {0}")]
    Json(#[from] serde_json::Error),
    /// The connection broke.
    #[error("the connection to the editor broke: {0}")]
    Io(#[from] std::io::Error),
    /// The client is gone.
    #[error("the editor is gone")]
    Gone,
}

/// Serves one client over standard input and output until it says `exit`.
///
/// # Errors
/// The connection broke, or the client does not speak the protocol.
pub fn run() -> Result<(), Error> {
    let (connection, threads) = Connection::stdio();
    let (id, params) = connection.initialize_start()?;
    let params: InitializeParams = serde_json::from_value(params)?;
    let offered = params.capabilities.general.and_then(|g| g.position_encodings).unwrap_or_default();
    let encoding = if offered.contains(&PositionEncodingKind::UTF8) { Encoding::Utf8 } else { Encoding::Utf16 };
    let capabilities = serde_json::json!({
        "capabilities": capabilities(encoding),
        "serverInfo": { "name": "hexafn", "version": env!("CARGO_PKG_VERSION") },
    });
    connection.initialize_finish(id, capabilities)?;
    let messages = queue(&connection)?;
    let mut server =
        Server { connection, messages, encoding, open: Open::new(), told: BTreeSet::new(), stale: BTreeSet::new() };
    server.serve()?;
    drop(server);
    threads.join()?;
    Ok(())
}

/// Messages that may wait; an editor that sends more waits itself.
const WAITING: usize = 1_024;

/// The messages of a client, where they can be seen to wait: the channel of the connection holds none.
fn queue(connection: &Connection) -> Result<Receiver<Message>, Error> {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let from = connection.receiver.clone();
    let pump = move || from.into_iter().map_while(|message| sender.send(message).ok()).for_each(drop);
    std::thread::Builder::new().name("lsp-queue".to_owned()).spawn(pump)?;
    Ok(receiver)
}

/// What this server can do.
fn capabilities(encoding: Encoding) -> ServerCapabilities {
    ServerCapabilities {
        position_encoding: Some(match encoding {
            Encoding::Utf8 => PositionEncodingKind::UTF8,
            Encoding::Utf16 => PositionEncodingKind::UTF16,
        }),
        text_document_sync: Some(TextDocumentSyncCapability::Options(TextDocumentSyncOptions {
            open_close: Some(true),
            change: Some(TextDocumentSyncKind::FULL),
            save: Some(TextDocumentSyncSaveOptions::SaveOptions(SaveOptions { include_text: Some(false) })),
            ..TextDocumentSyncOptions::default()
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: Some(vec![".".into()]),
            ..CompletionOptions::default()
        }),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        ..ServerCapabilities::default()
    }
}

/// How columns are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16,
}

impl Encoding {
    fn width(self, text: &str) -> u32 {
        let width = match self {
            Self::Utf8 => text.len(),
            Self::Utf16 => text.encode_utf16().count(),
        };
        u32::try_from(width).unwrap_or(u32::MAX)
    }

    /// The position of a byte.
    fn position(self, text: &str, at: usize) -> Position {
        let at = (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let before = &text[..at];
        let line = u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX);
        let start = before.rfind('\n').map_or(0, |n| n + 1);
        Position::new(line, self.width(&text[start..at]))
    }

    fn range(self, text: &str, span: std::ops::Range<usize>) -> Range {
        Range::new(self.position(text, span.start), self.position(text, span.end))
    }

    /// The byte at a position; of one beyond the end of its line, that end.
    fn offset(self, text: &str, position: Position) -> usize {
        let mut start = 0;
        for _ in 0..position.line {
            match text[start..].find('\n') {
                Some(end) => start += end + 1,
                None => return text.len(),
            }
        }
        let line = text[start..].split('\n').next().unwrap_or_default();
        let mut column = 0;
        for (at, c) in line.char_indices() {
            if column >= position.character {
                return start + at;
            }
            column += self.width(c.encode_utf8(&mut [0; 4]));
        }
        start + line.len()
    }
}

/// A document that the client has open.
struct Document {
    path: PathBuf,
    text: Arc<str>,
    version: i32,
}

/// The open documents, by address.
type Open = BTreeMap<String, Document>;

struct Server {
    connection: Connection,
    messages: Receiver<Message>,
    encoding: Encoding,
    open: Open,
    /// Files of which findings were told, so that they can be taken back.
    told: BTreeSet<String>,
    /// Folders that were changed since they were checked.
    stale: BTreeSet<PathBuf>,
}

impl Server {
    fn serve(&mut self) -> Result<(), Error> {
        loop {
            let Some(message) = self.next()? else { return Ok(()) };
            match message {
                Message::Request(request) => {
                    if request.method == Shutdown::METHOD {
                        self.send(Message::Response(Response::new_ok(request.id, ())))?;
                        // The last message is `exit`; whatever else comes after a shutdown is not served.
                        drop(self.messages.recv());
                        return Ok(());
                    }
                    let response = self.answer(request);
                    self.send(Message::Response(response))?;
                }
                Message::Notification(notification) => match self.told(notification) {
                    // What cannot be read says nothing, as a request that cannot be read is answered with no more than that.
                    Err(Error::Json(why)) => self.log(&Error::Json(why))?,
                    told => told?,
                },
                Message::Response(_) => {}
            }
        }
    }

    /// The next message. Before it is waited for, what was changed is checked: a burst of changes is checked once.
    fn next(&mut self) -> Result<Option<Message>, Error> {
        while !self.stale.is_empty() {
            if let Ok(message) = self.messages.try_recv() {
                return Ok(Some(message));
            }
            while let Some(folder) = self.stale.pop_first() {
                self.check(&folder)?;
            }
        }
        Ok(self.messages.recv().ok())
    }

    fn send(&self, message: Message) -> Result<(), Error> {
        self.connection.sender.send(message).map_err(|_| Error::Gone)
    }

    fn told(&mut self, notification: Notification) -> Result<(), Error> {
        match notification.method.as_str() {
            DidOpenTextDocument::METHOD => {
                let params: lsp_types::DidOpenTextDocumentParams = serde_json::from_value(notification.params)?;
                let document = params.text_document;
                self.changed(document.uri, document.text, document.version)
            }
            DidChangeTextDocument::METHOD => {
                let params: lsp_types::DidChangeTextDocumentParams = serde_json::from_value(notification.params)?;
                let Some(change) = params.content_changes.into_iter().next_back() else { return Ok(()) };
                self.changed(params.text_document.uri, change.text, params.text_document.version)
            }
            DidSaveTextDocument::METHOD => {
                let params: lsp_types::DidSaveTextDocumentParams = serde_json::from_value(notification.params)?;
                self.outdate(&params.text_document.uri);
                Ok(())
            }
            DidCloseTextDocument::METHOD => {
                let params: lsp_types::DidCloseTextDocumentParams = serde_json::from_value(notification.params)?;
                // What was not saved is gone.
                self.open.remove(params.text_document.uri.as_str());
                self.outdate(&params.text_document.uri);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A document has another text: programs are checked at once, with all that may import from it.
    fn changed(&mut self, uri: Uri, text: String, version: i32) -> Result<(), Error> {
        let Some(path) = path_of(&uri) else { return Ok(()) };
        let program = is_program(&path);
        self.open.insert(uri.as_str().to_owned(), Document { path, text: text.into(), version });
        self.outdate(&uri);
        if !program {
            return Ok(());
        }
        for (uri, document) in self.open.iter().filter(|(_, d)| is_program(&d.path)) {
            let findings = program::findings(&document.path, &document.text, &self.open, self.encoding);
            self.publish(uri, findings, Some(document.version))?;
        }
        Ok(())
    }

    /// The configuration that a document belongs to is to be checked as a whole.
    fn outdate(&mut self, uri: &Uri) {
        self.stale.extend(path_of(uri).and_then(|path| toml::folder(&path)));
    }

    /// Checks a configuration as a whole, as it is shown.
    fn check(&mut self, folder: &Path) -> Result<(), Error> {
        let found = toml::findings(folder, &self.open, self.encoding);
        let before = std::mem::take(&mut self.told);
        for (file, mut findings) in found {
            let Some(uri) = uri_of(&file) else { continue };
            let document = self.open.get(&uri);
            if is_program(&file) {
                // What it says by itself was told as it was typed; here is what its definition adds, such as a schema.
                let Some(document) = document else { continue };
                let mut own = program::findings(&document.path, &document.text, &self.open, self.encoding);
                findings.retain(|more| !own.iter().any(|o| o.range.start == more.range.start && o.code == more.code));
                own.append(&mut findings);
                findings = own;
            } else {
                self.told.insert(uri.clone());
            }
            self.publish(&uri, findings, document.map(|d| d.version))?;
        }
        let gone: Vec<String> = before.difference(&self.told).cloned().collect();
        for gone in gone {
            // Those of another folder stay as they are.
            if gone.parse().ok().and_then(|uri| path_of(&uri)).is_some_and(|path| !path.starts_with(folder)) {
                self.told.insert(gone);
            } else {
                self.publish(&gone, Vec::new(), None)?;
            }
        }
        Ok(())
    }

    fn log(&self, why: &Error) -> Result<(), Error> {
        let params = LogMessageParams { typ: MessageType::WARNING, message: why.to_string() };
        let params = serde_json::to_value(params)?;
        self.send(Message::Notification(Notification { method: LogMessage::METHOD.to_owned(), params }))
    }

    fn publish(&self, uri: &str, diagnostics: Vec<lsp_types::Diagnostic>, version: Option<i32>) -> Result<(), Error> {
        let Ok(uri) = uri.parse() else { return Ok(()) };
        let params = PublishDiagnosticsParams { uri, diagnostics, version };
        let params = serde_json::to_value(params)?;
        self.send(Message::Notification(Notification { method: PublishDiagnostics::METHOD.to_owned(), params }))
    }

    fn answer(&self, request: Request) -> Response {
        let result = match request.method.as_str() {
            HoverRequest::METHOD => self.about(request.params, |at: lsp_types::HoverParams| {
                let place = at.text_document_position_params;
                let (Document { path, text, .. }, at) = self.at(&place.text_document.uri, place.position)?;
                let hover = if is_program(path) { program::hover } else { inside::hover };
                hover(path, text, at, &self.open, self.encoding)
            }),
            Completion::METHOD => self.about(request.params, |at: lsp_types::CompletionParams| {
                let place = at.text_document_position;
                let (Document { path, text, .. }, at) = self.at(&place.text_document.uri, place.position)?;
                if is_program(path) {
                    return Some(program::completion(path, text, at, &self.open));
                }
                inside::completion(path, text, at, &self.open)
            }),
            GotoDefinition::METHOD => self.about(request.params, |at: lsp_types::GotoDefinitionParams| {
                let place = at.text_document_position_params;
                let (Document { path, text, .. }, at) = self.at(&place.text_document.uri, place.position)?;
                let definition = if is_program(path) { program::definition } else { inside::definition };
                definition(path, text, at, &self.open, self.encoding)
            }),
            Formatting::METHOD => self.about(request.params, |at: lsp_types::DocumentFormattingParams| {
                let document = self.open.get(at.text_document.uri.as_str()).filter(|d| is_program(&d.path))?;
                let text = hexafn_dsl::format(&document.text).ok()?;
                let whole = self.encoding.range(&document.text, 0..document.text.len());
                Some(if *text == *document.text { Vec::new() } else { vec![TextEdit::new(whole, text)] })
            }),
            method => Err((ErrorCode::MethodNotFound, format!("`{method}` is not served"))),
        };
        match result {
            Ok(value) => Response::new_ok(request.id, value),
            Err((code, message)) => Response::new_err(request.id, code as i32, message),
        }
    }

    fn about<P, R>(
        &self,
        params: serde_json::Value,
        answer: impl FnOnce(P) -> Option<R>,
    ) -> Result<serde_json::Value, (ErrorCode, String)>
    where
        P: serde::de::DeserializeOwned,
        R: serde::Serialize,
    {
        let params = serde_json::from_value(params).map_err(|e| (ErrorCode::InvalidParams, e.to_string()))?;
        serde_json::to_value(answer(params)).map_err(|e| (ErrorCode::InternalError, e.to_string()))
    }

    fn at(&self, uri: &Uri, position: Position) -> Option<(&Document, usize)> {
        let document = self.open.get(uri.as_str())?;
        Some((document, self.encoding.offset(&document.text, position)))
    }
}

fn is_program(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "hexa")
}

/// The file of a `file:` address.
fn path_of(uri: &Uri) -> Option<PathBuf> {
    let path = uri.as_str().strip_prefix("file://")?;
    let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    Some(PathBuf::from(path.into_owned()))
}

/// The address of a file.
fn uri_of(path: &Path) -> Option<String> {
    const KEPT: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    let path = std::path::absolute(path).ok()?;
    Some(format!("file://{}", percent_encoding::utf8_percent_encode(path.to_str()?, &KEPT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_as_the_client_does() {
        let text = "a\n\u{1f600}é = x\n";
        assert_eq!(Encoding::Utf16.position(text, 9), Position::new(1, 4));
        assert_eq!(Encoding::Utf8.position(text, 9), Position::new(1, 7));
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            for at in [0, 1, 2, 6, 8, 9, text.len()] {
                assert_eq!(encoding.offset(text, encoding.position(text, at)), at, "{encoding:?} {at}");
            }
            assert_eq!(encoding.offset(text, Position::new(0, 99)), 1);
            assert_eq!(encoding.offset(text, Position::new(99, 0)), text.len());
        }
    }

    #[test]
    fn addresses_are_paths() {
        let uri: Option<Uri> = uri_of(Path::new("/a b/ü.hexa")).and_then(|u| u.parse().ok());
        assert_eq!(uri.as_ref().map(|u| u.as_str().to_owned()).as_deref(), Some("file:///a%20b/%C3%BC.hexa"));
        assert_eq!(uri.as_ref().and_then(path_of), Some(PathBuf::from("/a b/ü.hexa")));
    }
}
