//! Lua: what a function can do, and how it fails.
#![allow(clippy::unwrap_used)]

#[path = "support/scripts.rs"]
mod scripts;

use std::time::Duration;

use hexafn_runtimes::{Code, Level, Limits, LuaRuntime, Position};
use scripts::{Script, compile, limits, limits_for};

fn source(body: &str) -> String {
    format!("return function(event, ctx)\n{body}\nend")
}

fn function(body: &str) -> Script {
    Script::new(&LuaRuntime, &source(body))
}

/// What the body of a function gives for an event.
fn eval(body: &str, event: &str) -> String {
    function(body).text(event)
}

/// Checks how the body of a function fails.
fn fails(body: &str, expected: Code) {
    let mut script = Script::with(&LuaRuntime, &source(body), limits_for(expected));
    for _ in 0..2 {
        let error = script.error("{}");
        assert_eq!(error.code, expected, "{body}: {error}");
    }
}

#[test]
fn a_line_shows_what_a_table_holds() {
    let mut script = function(
        "print({a = 1, list = array({1, 2})}, {}, 'x') log.warn(event.data)
         local round = {} round.self = round
         print(setmetatable({}, {__tostring = function() return 'mine' end}))
         print('subject:', event.subject, null)
         return pcall(print, round) and 1",
    );
    let done = script.call(r#"{"data":{"n":[1,null]},"subject":null}"#);
    assert!(done.result.is_ok(), "{:?}", done.result);
    let lines: Vec<_> = done.logs.iter().map(|line| &*line.message).collect();
    assert_eq!(&lines[..4], [r#"{"a":1,"list":[1,2]} {} x"#, r#"{"n":[1,null]}"#, "mine", "subject: null null"]);
    assert!(lines[4].starts_with("table: "), "{lines:?}");
    assert_eq!(Script::new(&LuaRuntime, "\u{feff}return function() return 7 end").text("{}"), "7");
}

#[test]
fn what_is_no_recursion_is_not_told_as_one() {
    let error = function("local s = string.rep('a', 1000000) return string.byte(s, 1, -1)").error("{}");
    assert!(error.code == Code::Thrown && error.message.contains("too long"), "{error}");
    assert_eq!(function("local function f() return 1 + f() end return f()").code("{}"), Code::Stack);
    let error = function("return os.date('%Q')").error("{}");
    assert!(!error.message.starts_with("hexafn"), "{error}");
    assert_eq!(
        function("error(null)").error("{}").message,
        "it raised a value of the type null (raise a string: it has a place)"
    );
}

#[test]
fn headers_are_bounded_before_they_are_copied() {
    let request = |host: &str| {
        format!(
            "local h, s = {{}}, string.rep('x', 4000000) for i = 1, 5000 do h['h' .. i] = s end
             ctx.http({{ url = 'https://{host}/', headers = h }})"
        )
    };
    assert_eq!(function(&request("api.example.com")).error("{}").code, Code::OutputTooLarge);
    assert_eq!(function(&request("example.org")).error("{}").code, Code::Denied);
}

#[test]
fn a_function_gives_a_value_or_drops() {
    for (body, output) in [
        ("return event.data.n * 2", "14"),
        ("return null", "null"),
        ("return nil", "<dropped>"),
        ("", "<dropped>"),
        ("return {1, 'ä\\n\"', true, {b = null, a = nil}}", r#"[1,"ä\n\"",true,{"b":null}]"#),
        ("event.data.z = 1; return event", r#"{"data":{"list":[],"map":{},"n":7,"none":null,"z":1}}"#),
        ("return {{}, array({}), event.data.list, event.data.map}", "[{},[],[],{}]"),
        ("return event.data.none == null and event.data.nothing == nil", "true"),
        (
            "return {ctx.trigger, ctx['function'], ctx.attempt, ctx.now, ctx.env.REGION, ctx.env.HOME == nil}",
            r#"["t","test",2,"2026-01-02T03:04:05Z","eu",true]"#,
        ),
        ("return ('a12b'):match('%d+') .. string.format('%03d', 7) .. utf8.char(228)", "\"12007ä\""),
        ("return bit32.band(6, 3) + buffer.len(buffer.create(4))", "6"),
        ("local t = {} for i = 1, 3 do table.insert(t, i) end return t", "[1,2,3]"),
        ("local co = coroutine.wrap(function() coroutine.yield(1) end) return co()", "1"),
        ("return getmetatable(array({1}))", "\"array\""),
        ("local t = table.clone(event.data.list) t[1] = 1 return {t, event.data.list}", "[[1],[]]"),
        ("local t = table.clone(array({1, 2})) table.insert(t, 3) return t", "[1,2,3]"),
        ("return {table.clone(array({})), table.clone({a = 1}), table.clone({1})}", r#"[[],{"a":1},[1]]"#),
        ("return os.date('!%Y', 0) .. os.time({year = 2000, month = 1, day = 1, hour = 0})", "\"1970946684800\""),
    ] {
        assert_eq!(eval(body, r#"{"data":{"n":7,"list":[],"map":{},"none":null}}"#), output, "{body}");
    }
}

#[test]
fn the_host_takes_what_is_granted() {
    let mut script = function(
        "ctx.emit('orders.new', {id = exact('9007199254740993')})
         ctx.emit('orders.old', {1}, {key = 'k'})
         local cart = ctx.kv.get('carts', 'a')
         ctx.kv.put('carts', 'b', {n = cart.n})
         ctx.kv.delete('carts', 'a')
         print('one', 2, nil, true) log.error('no') log.warn('\\255') log.debug()
         local answer = ctx.http({method = 'POST', url = 'https://api.example.com/x', headers = {A = 1}, body = {b = 2}})
         return {ctx.kv.get('carts', 'a') == nil, ctx.kv.get('carts', 'b'), answer}",
    );
    let done = script.call("{}");
    let output = done.result.unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.value.unwrap()),
        r#"[true,{"n":12345678901234567890},{"body":"POST {\"b\":2}","headers":{"a":"1, 2"},"status":201}]"#
    );
    let emitted: Vec<_> = output.emitted.iter().map(|e| (&*e.topic, e.key.as_deref(), &*e.data)).collect();
    assert_eq!(emitted, [("orders.new", None, r#"{"id":9007199254740993}"#), ("orders.old", Some("k"), "[1]")]);
    assert_eq!(output.writes.len(), 2);
    assert_eq!(output.writes[0].value.as_deref(), Some(r#"{"n":12345678901234567890}"#));
    let lines: Vec<_> = done.logs.iter().map(|l| (l.level, &*l.message)).collect();
    assert_eq!(
        lines,
        [(Level::Info, "one 2 nil true"), (Level::Error, "no"), (Level::Warn, "\u{fffd}"), (Level::Debug, "")]
    );
    let request = script.host.requests.lock().unwrap().pop().unwrap();
    assert_eq!(request.headers, [("A".to_owned(), "1".to_owned())]);
    assert_eq!(done.usage.host_calls, 12);
}

#[test]
fn what_is_not_granted_is_refused_and_can_be_caught() {
    for (body, expected) in [
        ("ctx.emit('other', 1)", Code::Denied),
        ("ctx.kv.get('users', 'a')", Code::Denied),
        ("ctx.kv.put('users', 'a', 1)", Code::Denied),
        ("ctx.http('https://evil.example.com')", Code::Denied),
        ("ctx.http({})", Code::Denied),
        ("ctx.http(1)", Code::Host),
        ("ctx.kv.get('carts', '../a')", Code::Host),
        ("ctx.kv.get('carts', 'broken')", Code::Host),
        ("ctx.kv.get(nil)", Code::Thrown),
        ("ctx.emit('orders.a')", Code::BadOutput),
        ("ctx.emit('orders.a', 0/0)", Code::BadOutput),
        ("while true do print('x') end", Code::HostCalls),
        ("while true do pcall(print, 'x') end", Code::HostCalls),
        ("while true do ctx.emit('orders.a', 1) end", Code::Emits),
        ("pcall(function() while true do ctx.emit('orders.a', 1) end end) return 1", Code::Emits),
        ("ctx.emit('orders.a', ('x'):rep(300000))", Code::OutputTooLarge),
        ("pcall(ctx.emit, 'orders.a', ('x'):rep(300000)) return 1", Code::OutputTooLarge),
    ] {
        fails(body, expected);
    }
    let caught = eval("local ok, e = pcall(ctx.emit, 'other', 1) return {ok, e}", "{}");
    assert!(caught.starts_with(r#"[false,"it may not emit to the topic `other`"#), "{caught}");
    let error = function("\n  ctx.emit('other', 1)").error("{}");
    assert_eq!(error.position, Some(Position { line: 3, column: 0 }));
    assert!(error.message.starts_with("it may not emit"), "{error}");
}

#[test]
fn an_error_object_that_it_caught_hides_no_limit() {
    let caught = "pcall(error, setmetatable({}, {__tostring = function() return 'mine' end}))";
    fails(&format!("{caught} local function f() return 1 + f() end f()"), Code::Stack);
    fails(&format!("{caught} local t = {{}} while true do t[#t + 1] = {{}} end"), Code::Memory);
}

#[test]
fn an_error_is_what_it_is_whatever_it_says() {
    for (body, shown) in [
        ("error('stack overflow')", "thrown: stack overflow (line 2)"),
        ("error('C stack overflow', 0)", "thrown: C stack overflow (line 2)"),
        ("error('not enough memory')", "thrown: not enough memory (line 2)"),
        ("assert(false, 'not enough memory')", "thrown: not enough memory (line 2)"),
        (
            "error(setmetatable({}, {__tostring = function() return 'not enough memory' end}))",
            "thrown: not enough memory (line 2)",
        ),
        (
            "error({code = 'x', n = {1}})",
            r#"thrown: it raised {"code":"x","n":[1]} (raise a string: it has a place) (line 2)"#,
        ),
        ("assert(nil, {a = 1})", r#"thrown: it raised {"a":1} (raise a string: it has a place) (line 2)"#),
        ("error(print)", "thrown: it raised a value of the type function (raise a string: it has a place) (line 2)"),
        ("error({print})", "thrown: it raised a value of the type table (raise a string: it has a place) (line 2)"),
        ("error()", "thrown: it raised a value of the type nothing (raise a string: it has a place) (line 2)"),
        ("pcall(error, {})\n error('mine')", "thrown: mine (line 3)"),
        ("local function f()\n error('mine', 2) end\n f()", "thrown: mine (line 4)"),
        (
            "coroutine.wrap(function()\n coroutine.wrap(function()\n error('mine') end)() end)()",
            "thrown: mine (line 4)",
        ),
        (
            "return {1, [{}] = 2}",
            "bad-output: the output at `$` has the keys of an array of 1, and also the key of the type table; JSON has arrays or objects (a hole takes `null`)",
        ),
    ] {
        assert_eq!(function(body).text("{}"), shown, "{body}");
    }
    for (body, output) in [
        ("return select(2, pcall(error, 'x'))", "\"x\""),
        ("return select(2, pcall(function() error('x', 0) end))", "\"x\""),
        ("return select(2, pcall(error, {a = 1}))", r#"{"a":1}"#),
        ("return {assert(1, 2, 3)}", "[1,2,3]"),
    ] {
        assert_eq!(eval(body, "{}"), output, "{body}");
    }
    // What the engine says is its own, also after something was raised by hand, and through coroutines.
    fails("pcall(error, {a = 1}) local function f() return 1 + f() end return f()", Code::Stack);
    fails("local function f() return coroutine.wrap(f)() end return f()", Code::Stack);
    fails("return coroutine.wrap(function() return ('x'):rep(1e9) end)()", Code::Memory);
}

#[test]
fn the_digits_of_a_number_are_memory_of_the_function() {
    fails(
        "local s = ('9'):rep(1000000) local t = {} for i = 1, 400 do t[i] = exact(s .. i) end return #t",
        Code::Memory,
    );
    // The event's digits, too.
    let digits = "9".repeat(400_000);
    let peak = function("return 1").call(&format!("{{\"data\":0.{digits}}}")).usage.peak_memory.unwrap();
    assert!(peak > 300_000, "{peak}");
}

#[test]
fn errors_have_a_line_and_a_traceback() {
    let mut script = Script::new(
        &LuaRuntime,
        "local function inner(x)\n  local y = x.missing.field\n  return y\nend\nreturn function(event)\n  local z = inner(event)\n  return z\nend\n",
    );
    let error = script.error("{}");
    assert_eq!(error.code, Code::Thrown);
    assert_eq!(error.position.unwrap().line, 2);
    assert_eq!(error.message, "attempt to index nil with 'field'");
    let stack = error.stack.unwrap();
    assert_eq!(
        stack,
        "functions/test.lua:2: in function 'inner'\nfunctions/test.lua:6: in function <functions/test.lua:5>"
    );
    assert_eq!(eval("error('mine')", "{}"), "thrown: mine (line 2)");
    assert_eq!(eval("error('mine', 0)", "{}"), "thrown: mine (line 2)");
    for body in ["error({a = 1})", "error(nil)", "error()", "error(setmetatable({}, {__tostring = error}))"] {
        fails(body, Code::Thrown);
    }
    fails("error(setmetatable({}, {__tostring = function() while true do end end}))", Code::Timeout);
}

#[test]
fn what_is_no_function_is_refused() {
    for (source, expected, line) in [
        ("return function(event)\n  return event..\nend", Code::Compile, Some(3)),
        ("return function(", Code::Compile, Some(1)),
        ("import fs", Code::Compile, Some(1)),
    ] {
        let error = compile(&LuaRuntime, source.as_bytes()).unwrap_err();
        assert_eq!(error.code, expected, "{source}: {error}");
        assert_eq!(error.position.map(|p| p.line), line, "{source}: {error}");
    }
    for code in [&b"\x06\x03\x00"[..], b"\x1bLua", b"return '\0'", b"return '\xff'"] {
        let error = compile(&LuaRuntime, code).unwrap_err();
        assert!(error.message.contains("byte code is not taken"), "{error}");
    }
    assert_eq!(compile(&LuaRuntime, &vec![b' '; (1 << 20) + 1]).unwrap_err().code, Code::TooLarge);
    assert_eq!(compile(&LuaRuntime, &b"{".repeat(1 << 19)).unwrap_err().code, Code::Compile);
    compile(&LuaRuntime, b"while true do end").unwrap();
    assert_eq!(Script::new(&LuaRuntime, "return 1").code("{}"), Code::Compile);
    assert_eq!(Script::new(&LuaRuntime, "").code("{}"), Code::Compile);
}

#[test]
fn no_number_is_rounded_in_silence() {
    for (body, event, output) in [
        ("return event.data", "9007199254740993", "9007199254740993"),
        ("return tostring(event.data)", "9007199254740993", "\"9007199254740993\""),
        ("return type(event.data)", "9007199254740993", "\"userdata\""),
        ("return type(event.data)", "9007199254740991", "\"number\""),
        ("return event.data == exact('9007199254740993')", "9007199254740993", "true"),
        ("return event.data == exact('9007199254740994')", "9007199254740993", "false"),
        (
            "return event.data",
            "[-9223372036854775809,1.50,{\"a\":0.1000000000000000055511}]",
            "[-9223372036854775809,1.5,{\"a\":0.1000000000000000055511}]",
        ),
        (
            "return {2^60, 1e21, -0, 1e-7, 2^53, exact('12.50')}",
            "0",
            "[1152921504606846976,1e21,0,1e-7,9007199254740992,12.50]",
        ),
    ] {
        assert_eq!(eval(body, &format!("{{\"data\":{event}}}")), output, "{body} {event}");
    }
    // What all calls share of it cannot be had, so it cannot be changed.
    assert_eq!(eval("return getmetatable(exact('1'))", "{}"), "false");
    fails("exact('1').x = 1", Code::Thrown);
    fails("return exact('1x')", Code::Thrown);
    fails("return exact('[1]')", Code::Thrown);
    fails("return exact(' 1')", Code::Thrown);
    fails("return exact('9007199254740993') + 1", Code::Thrown);
}

#[test]
fn what_json_does_not_have_is_no_output() {
    for (body, message) in [
        ("return 0/0", "`$` is NaN"),
        ("return {a = {1, 1/0}}", "`$.a[2]` is inf"),
        ("return {f = print}", "`$.f` is a function"),
        ("return {coroutine.create(print)}", "`$[1]` is a thread"),
        ("return buffer.create(1)", "`$` is a buffer"),
        ("return vector.create(1, 2, 3)", "`$` is a vector"),
        ("return '\\255'", "`$` is a string that is not UTF-8"),
        ("return {['\\255'] = 1}", "`$` is a string that is not UTF-8"),
        ("return {[true] = 1}", "`$` has a key of the type boolean"),
        ("return {1, 2, x = 3}", "`$` has the keys of an array of 2, and also the key x"),
        ("return array({x = 3})", "`$` is an array of 0, and also the key x"),
        ("return {[3] = 1}", "`$` has a key of the type"),
        ("local a = {} a.a = a return a", "nests deeper than 64 levels, or contains itself"),
        ("local a = {} for i = 1, 100 do a = {a} end return a", "nests deeper than 64"),
    ] {
        let error = function(body).error("{}");
        assert_eq!(error.code, Code::BadOutput, "{body}: {error}");
        assert!(error.message.contains(message), "{body}: {error}");
    }
    for (body, expected) in [
        ("return ('x'):rep(1e6)", Code::OutputTooLarge),
        ("local a = {1} for i = 1, 40 do a = {a, a} end return a", Code::OutputTooLarge),
    ] {
        fails(body, expected);
    }
    assert_eq!(eval("return setmetatable({1}, {__index = error, __iter = error, __len = error})", "{}"), "[1]");
}

#[test]
fn each_limit_ends_the_call_with_its_code() {
    for (body, expected) in [
        ("while true do end", Code::Timeout),
        ("repeat until false", Code::Timeout),
        ("while true do pcall(function() while true do end end) end", Code::Timeout),
        ("local function f() pcall(f) return f() end f()", Code::Timeout),
        ("while true do xpcall(error, function() while true do end end) end", Code::Timeout),
        ("while true do coroutine.wrap(function() while true do end end)() end", Code::Timeout),
        ("while true do pcall(coroutine.wrap(function() while true do end end)) end", Code::Timeout),
        ("for i = 1, 1/0 do end", Code::Timeout),
        ("for k in function() return 1 end do end", Code::Timeout),
        ("return string.find(('a'):rep(50000), ('.-'):rep(100) .. 'b')", Code::Timeout),
        ("return setmetatable({}, {__index = function(t, k) return t[k .. 1] end}).x", Code::Stack),
        ("local function f() return 1 + f() end f()", Code::Stack),
        ("local t = {} while true do t[#t + 1] = table.create(1000, 7) end", Code::Memory),
        ("local s = 'x' while true do s = s .. s end", Code::Memory),
        ("return ('x'):rep(1e9)", Code::Memory),
        ("buffer.create(1e9)", Code::Memory),
        ("table.create(6e7, 1)", Code::Memory),
    ] {
        fails(body, expected);
    }
}

#[test]
fn an_instance_is_as_new_after_any_call() {
    let mut script = Script::with(
        &LuaRuntime,
        "local calls = 0
         local seen = {}
         return function(event, ctx)
           local before = {calls, left == nil, _G.left2 == nil, string.left == nil, ctx.left == nil, #seen,
             ctx.kv.left == nil, getmetatable('').left == nil, math.random() == 0.7415648787718233}
           calls = calls + 1
           seen[1] = 1
           left = 1 _G.left2 = 1 ctx.left = 1
           pcall(function() string.left = 1 end)
           pcall(function() ctx.kv.left = 1 end)
           pcall(function() getmetatable('').left = 1 end)
           pcall(function() getmetatable('').__index.left = 1 end)
           pcall(function() getmetatable(_G).__index.left = 1 end)
           pcall(function() setmetatable(_G, {__index = function() return 1 end}) end)
           pcall(function() getmetatable(array({})).left = 1 end)
           print = nil error = nil string = nil
           local what = event.data
           if what == 'throw' then local x = nil + 1
           elseif what == 'loop' then while true do end
           elseif what == 'memory' then local t = {} while true do t[#t + 1] = table.create(1000, 7) end
           elseif what == 'stack' then local function f() return 1 + f() end f()
           elseif what == 'co' then left = coroutine.wrap(function() while true do coroutine.yield() end end) left() end
           return before
         end",
        Limits { wall: Duration::from_secs(1), ..limits() },
    );
    let first = script.text("{\"data\":\"a\"}");
    assert!(first.starts_with("[0,true,true,true,true,0,true,true,"), "{first}");
    for data in ["a", "throw", "b", "loop", "c", "memory", "d", "stack", "e", "co", "f", "g"] {
        let text = script.text(&format!("{{\"data\":\"{data}\"}}"));
        match data {
            "throw" | "loop" | "memory" | "stack" => assert!(!text.starts_with('['), "{data}: {text}"),
            _ => assert_eq!(text, first, "{data}"),
        }
    }
}

#[test]
fn the_memory_that_a_call_took_is_told() {
    let most = |body| function(body).call("{}").usage.peak_memory.unwrap();
    let little = most("return 1");
    assert!(little < 100_000, "{little}");
    let held = most("return #('x'):rep(1000000)");
    assert!((1_000_000..1_200_000).contains(&held), "{held}");
    // Gone before the end.
    let passing = most("do local s = ('x'):rep(4000000) end local t for i = 1, 1e5 do t = {i} end return 1");
    assert!(passing >= 4_000_000, "{passing}");
}

#[test]
fn what_a_call_leaves_takes_nothing_from_the_next() {
    // Each holds two thirds of the memory at its end.
    let mut script = function("local t = table.create(650000, event) return #t");
    for _ in 0..20 {
        assert_eq!(script.text("{}"), "650000");
    }
}

#[test]
fn chance_begins_with_the_seed_and_time_is_whole() {
    let mut script = function("return {math.random(), math.random(10), math.random(-5, 5)}");
    let first = script.text("{}");
    assert_eq!(script.text("{}"), first);
    script.ctx.seed = 43;
    assert_ne!(script.text("{}"), first);
    assert_eq!(
        eval(
            "for i = 1, 100 do local r = math.random(3) if r < 1 or r > 3 or r % 1 ~= 0 then return false end end return true",
            "{}"
        ),
        "true"
    );
    assert_eq!(eval("return os.clock() * 1000 % 1 < 0.001 or os.clock() * 1000 % 1 > 0.999", "{}"), "true");
    assert_eq!(eval("return os.time() > 1.7e9 and os.time() % 1 == 0", "{}"), "true");
}

#[test]
fn nothing_reaches_outside() {
    for name in [
        "io",
        "debug",
        "package",
        "require",
        "load",
        "loadstring",
        "loadfile",
        "dofile",
        "collectgarbage",
        "gcinfo",
        "getfenv",
        "setfenv",
        "newproxy",
        "os.execute",
        "os.getenv",
        "os.exit",
        "os.remove",
        "math.randomseed",
        "integer",
    ] {
        assert_eq!(eval(&format!("return {name} == nil"), "{}"), "true", "{name}");
    }
}

#[test]
fn an_event_of_any_size_and_shape_comes_through() {
    let limits = Limits { output: 4 << 20, ..limits() };
    let mut script = Script::with(&LuaRuntime, "return function(e) return e end", limits);
    for event in [
        r#"{"a":"\u0000\ud83d\ude00\\","":[],"b":{}}"#.to_owned(),
        format!("{{\"data\":{}}}", "[".repeat(60) + &"]".repeat(60)),
        format!("{{\"data\":[{}1]}}", "1,".repeat(200_000)),
    ] {
        let back: serde_json::Value = serde_json::from_str(&script.text(&event)).unwrap();
        assert_eq!(back, serde_json::from_str::<serde_json::Value>(&event).unwrap());
    }
    assert_eq!(script.code("{"), Code::Input);
    let mut small = Script::with(
        &LuaRuntime,
        "return function(e) return 1 end",
        Limits { memory: 1 << 20, ..limits_for(Code::Memory) },
    );
    assert_eq!(small.code(&format!("{{\"data\":[{}1]}}", "1,".repeat(200_000))), Code::Memory);
    assert_eq!(small.text("{}"), "1");
    assert_eq!(script.text("{}"), "{}");
}

#[test]
fn memory_may_end_anywhere() {
    let source = "local before = ('x'):rep(2000)
        return function(event, ctx)
          print(event, before)
          local list = {}
          for i = 1, 500 do list[i] = {i = i} end
          ctx.kv.put('carts', 'b', {list = list})
          local co = coroutine.wrap(function() coroutine.yield(('aab'):match('a+(b?)')) end)
          return {ctx.kv.get('carts', 'a') == nil, ctx.kv.get('carts', 'b'), co(), (before:gsub('x', 'yy')), event}
        end";
    let mut endings = std::collections::BTreeMap::<String, u32>::new();
    for memory in (1..400).map(|step| step * 4096 + 7 * step) {
        let settings = std::sync::Arc::new(hexafn_runtimes::Settings {
            limits: Limits { memory, ..limits() },
            grants: scripts::grants(),
        });
        let result = scripts::call_once(&LuaRuntime, source, &settings, r#"{"data":[12345678901234567890,{"a":"b"}]}"#);
        *endings
            .entry(result.map_or_else(
                |e| if e.code == Code::Memory { "memory".to_owned() } else { e.to_string() },
                |_| "ok".to_owned(),
            ))
            .or_default() += 1;
    }
    assert!(endings.keys().eq(["memory", "ok"]) && endings.values().all(|n| *n > 50), "{endings:?}");
}

#[test]
fn a_call_that_runs_for_long_offers_its_processor_to_others() {
    let looping = "return function() while true do end end";
    let mut script = Script::with(&LuaRuntime, looping, Limits { wall: Duration::from_millis(500), ..limits() });
    let ended = script.ended("{}");
    assert_eq!(ended.result.unwrap_err().code, Code::Timeout);
    assert!(ended.offers > 0);
}
