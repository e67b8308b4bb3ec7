//! Which globals a source can reach. There is no `eval` and no sloppy `this`, so a function reaches a global by writing its
//! name, or through `globalThis`; a name can also be written with escapes. What it cannot reach need not be made: the
//! typed arrays alone are a quarter of what a context costs, and a context is made for each call.

/// The globals of a function that are made only where its source names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Names {
    /// `console`.
    pub console: bool,
    /// `Math`, whose `random` is ours.
    pub math: bool,
    /// `Date`, whose `now` is ours.
    pub date: bool,
    /// `ArrayBuffer`, `DataView` and the typed arrays.
    pub buffers: bool,
}

/// What the names of all typed arrays, and of what goes with them, contain one of.
const BUFFERS: [&str; 7] = ["ArrayBuffer", "DataView", "8Array", "ClampedArray", "16Array", "32Array", "64Array"];

impl Names {
    /// Those of a source. Texts and comments count as well: too many is only slower.
    pub fn of(text: &str) -> Self {
        let all = text.contains("globalThis") || text.contains("\\u");
        let any = |names: &[&str]| all || names.iter().any(|name| text.contains(name));
        Self { console: any(&["console"]), math: any(&["Math"]), date: any(&["Date"]), buffers: any(&BUFFERS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_however_it_is_written() {
        let none = Names { console: false, math: false, date: false, buffers: false };
        let all = Names { console: true, math: true, date: true, buffers: true };
        assert_eq!(Names::of("export default (event) => [event.data].map((n) => n.array)"), none);
        assert_eq!(Names::of("export default () => Math.PI"), Names { math: true, ..none });
        assert_eq!(Names::of("export default () => M\\u0061th.PI"), all);
        assert_eq!(Names::of("export default () => globalThis['Ma' + 'th']"), all);
        for buffer in ["new Uint8Array(1)", "new Uint8ClampedArray(1)", "new BigInt64Array(1)", "new DataView(b)"] {
            assert_eq!(Names::of(buffer), Names { buffers: true, ..none }, "{buffer}");
        }
    }
}
