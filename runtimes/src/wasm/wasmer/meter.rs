//! What Wasmer has no setting for is written into the module before it is compiled: fuel, a look at the clock, and a bound
//! of its memory.
//!
//! Before each branch the instructions of the straight line before it are taken off a counter. Where each loop and each
//! function begins (so nothing runs for long without) a module that has less than none calls the host, which looks at the
//! clock and gives more, or ends the call. Within a function the counter is a local, which the compiler keeps in a
//! register; a global carries it from function to function. Growth of a memory or a table is taken off the room that the
//! function has, and refused when there is not enough. The module is validated as it was, so it cannot name what is added
//! here.

use std::convert::Infallible;

use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, EntityType, ExportKind, ExportSection, Function, GlobalSection, GlobalType,
    ImportSection, Instruction, Module, RawSection, SectionId, TypeSection, ValType,
};
use wasmparser::{Operator, Parser, Payload, Validator, WasmFeatures};

use super::super::TABLE_ENTRIES;
use crate::{Code, Error, Limits};

/// What begins so is exported by the host's choice: what a module exports by such a name itself is left out.
const OURS: &str = "hexafn:";
/// The fuel that is left of what was given, `i64`.
pub(super) const FUEL: &str = "hexafn:fuel";
/// The bytes by which memories and tables may still grow, `i64`.
pub(super) const ROOM: &str = "hexafn:room";
/// Whether growth was refused, `i32`.
pub(super) const REFUSED: &str = "hexafn:refused";
/// The module's own start function, which runs only when the host is ready for it.
pub(super) const START: &str = "hexafn:start";
/// The import `(fuel: i64) -> i64`: it is called with less than zero, and gives the fuel that is there then.
pub(super) const MORE: (&str, &str) = ("hexafn", "more");

/// What an entry of a table takes, in bytes.
const ENTRY: u64 = 8;
/// A page of memory, in bytes.
const PAGE: u64 = 64 << 10;

/// What a module may use: what Wasmtime has on by itself, as far as Wasmer can do it.
const FEATURES: WasmFeatures = WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST);

type Result<T> = std::result::Result<T, reencode::Error>;

/// The module with its meter.
///
/// # Errors
/// [`Code::Compile`] when it is not valid, [`Code::Memory`] when it begins with more than it may have.
pub(super) fn metered(wasm: &[u8], limits: &Limits) -> std::result::Result<Vec<u8>, Error> {
    let invalid =
        |e: &dyn std::fmt::Display| Error::new(Code::Compile, format!("it is not a valid module for Wasmer: {e}"));
    Validator::new_with_features(FEATURES).validate_all(wasm).map_err(|e| invalid(&e))?;
    let (wasm, start, params) = without_start(wasm).map_err(|e| invalid(&e))?;
    let mut meter = Meter { limit: limits.memory as u64, start, params: params.into_iter(), ..Meter::default() };
    let mut module = Module::new();
    meter.parse_core_module(&mut module, Parser::new(0), &wasm).map_err(|e| invalid(&e))?;
    if meter.held > meter.limit {
        return Err(Error::new(
            Code::Memory,
            format!(
                "it begins with {} bytes of memory and tables; at most {} are allowed (`limits.memory`)",
                meter.held, meter.limit
            ),
        ));
    }
    Ok(module.finish())
}

/// The module without its start section, the function that this names, and how many parameters each of its functions has.
fn without_start(wasm: &[u8]) -> std::result::Result<(Vec<u8>, Option<u32>, Vec<u32>), wasmparser::Error> {
    let (mut module, mut start) = (Module::new(), None);
    let (mut types, mut params) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::TypeSection(section) => {
                for function in section.clone().into_iter_err_on_gc_types() {
                    types.push(u32::try_from(function?.params().len()).unwrap_or(u32::MAX));
                }
            }
            Payload::FunctionSection(section) => {
                for index in section.clone() {
                    // The module is valid, so there is such a type.
                    params.push(types.get(index? as usize).copied().unwrap_or_default());
                }
            }
            _ => {}
        }
        if let Payload::StartSection { func, .. } = payload {
            start = Some(func);
        } else if let Some((id, range)) = payload.as_section() {
            module.section(&RawSection { id, data: wasm.get(range).unwrap_or_default() });
        }
    }
    Ok((module.finish(), start, params))
}

/// Reads a module once, in the order of its sections, and writes it with what is added.
#[derive(Debug, Default)]
struct Meter {
    /// `limits.memory`.
    limit: u64,
    /// The function of the start section, as the module numbers it.
    start: Option<u32>,
    /// Parameters of its functions, of which the next has its body read next.
    params: std::vec::IntoIter<u32>,
    types: u32,
    /// Functions that the module imports; `more` comes after them, and all others one later.
    imported: u32,
    has_imports: bool,
    globals: u32,
    has_globals: bool,
    /// What it begins with, in bytes of memories and tables.
    held: u64,
    /// The tables that the host's limit bounds, and not their own.
    bounded: Vec<bool>,
}

/// Whether a straight line ends here: what follows may run without what came before, or the other way round.
fn branches(operator: &Operator<'_>) -> bool {
    matches!(
        operator,
        Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::Else
            | Operator::End
            | Operator::Br { .. }
            | Operator::BrIf { .. }
            | Operator::BrTable { .. }
            | Operator::Return
            | Operator::Unreachable
            | Operator::Call { .. }
            | Operator::CallIndirect { .. }
    )
}

/// As Wasmtime counts: what only shapes the code costs nothing.
fn cost(operator: &Operator<'_>) -> i64 {
    match operator {
        Operator::Nop
        | Operator::Drop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Unreachable
        | Operator::Return
        | Operator::Else
        | Operator::End => 0,
        _ => 1,
    }
}

/// Whether it leaves the function, where so many blocks are open.
fn leaves(operator: &Operator<'_>, open: u32) -> bool {
    match operator {
        Operator::Br { relative_depth } | Operator::BrIf { relative_depth } => *relative_depth == open,
        Operator::BrTable { targets } => {
            targets.default() == open || targets.targets().any(|target| target.is_ok_and(|depth| depth == open))
        }
        Operator::End => open == 0,
        Operator::Return | Operator::Unreachable => true,
        _ => false,
    }
}

fn write(out: &mut Function, instructions: &[Instruction<'_>]) {
    for instruction in instructions {
        out.instruction(instruction);
    }
}

/// The counter within one function.
#[derive(Debug, Clone, Copy)]
struct Fuel {
    /// The global that carries it.
    global: u32,
    /// The local that has it here.
    local: u32,
    /// The import that gives more.
    more: u32,
}

impl Fuel {
    /// Takes it over, where the function begins or goes on.
    fn load(self, out: &mut Function) {
        write(out, &[Instruction::GlobalGet(self.global), Instruction::LocalSet(self.local)]);
    }

    /// Hands it on, before the function is left.
    fn store(self, out: &mut Function) {
        write(out, &[Instruction::LocalGet(self.local), Instruction::GlobalSet(self.global)]);
    }

    /// Takes the cost of a straight line off it.
    fn settle(self, cost: &mut i64, out: &mut Function) {
        let cost = std::mem::take(cost);
        if cost > 0 {
            write(
                out,
                &[
                    Instruction::LocalGet(self.local),
                    Instruction::I64Const(cost),
                    Instruction::I64Sub,
                    Instruction::LocalSet(self.local),
                ],
            );
        }
    }

    /// Asks the host for more when there is less than none. What the host knows of it is in the global, before and after: a
    /// trap leaves it there.
    fn ask(self, out: &mut Function) {
        write(
            out,
            &[
                Instruction::LocalGet(self.local),
                Instruction::I64Const(0),
                Instruction::I64LtS,
                Instruction::If(BlockType::Empty),
                Instruction::LocalGet(self.local),
                Instruction::GlobalSet(self.global),
                Instruction::LocalGet(self.local),
                Instruction::Call(self.more),
                Instruction::LocalTee(self.local),
                Instruction::GlobalSet(self.global),
                Instruction::End,
            ],
        );
    }

    /// Takes the length that lies on the stack, shifted, off it.
    fn work(self, scratch: u32, shift: i64, out: &mut Function) {
        write(
            out,
            &[
                Instruction::GlobalSet(scratch),
                Instruction::LocalGet(self.local),
                Instruction::GlobalGet(scratch),
                Instruction::I64ExtendI32U,
                Instruction::I64Const(shift),
                Instruction::I64ShrU,
                Instruction::I64Sub,
                Instruction::LocalSet(self.local),
            ],
        );
        self.ask(out);
        out.instruction(&Instruction::GlobalGet(scratch));
    }
}

impl Meter {
    // The globals that are added, after those of the module.
    fn fuel(&self) -> u32 {
        self.globals
    }

    fn room(&self) -> u32 {
        self.globals + 1
    }

    fn refused(&self) -> u32 {
        self.globals + 2
    }

    fn scratch(&self) -> u32 {
        self.globals + 3
    }

    fn grown(&self) -> u32 {
        self.globals + 4
    }

    fn add_import(&mut self, imports: &mut ImportSection) {
        imports.import(MORE.0, MORE.1, EntityType::Function(self.types));
        self.has_imports = true;
    }

    fn add_globals(&mut self, globals: &mut GlobalSection) {
        let room = self.limit.saturating_sub(self.held);
        let mut add = |val_type, init: &ConstExpr| {
            globals.global(GlobalType { val_type, mutable: true, shared: false }, init);
        };
        add(ValType::I64, &ConstExpr::i64_const(0));
        add(ValType::I64, &ConstExpr::i64_const(i64::try_from(room).unwrap_or(i64::MAX)));
        for _ in 0..3 {
            add(ValType::I32, &ConstExpr::i32_const(0));
        }
        self.has_globals = true;
    }

    /// Grows by the number of units that lies on the stack when there is room for them, and by more than there can be
    /// when not, so that the instruction itself says no. `bounded` says that it also says no for the host's sake.
    fn grow(&self, instruction: &Instruction<'_>, unit: u64, bounded: bool, out: &mut Function) {
        let (room, refused, scratch, grown) = (self.room(), self.refused(), self.scratch(), self.grown());
        let bytes = [
            Instruction::GlobalGet(scratch),
            Instruction::I64ExtendI32U,
            Instruction::I64Const(unit as i64),
            Instruction::I64Mul,
        ];
        out.instruction(&Instruction::GlobalSet(scratch));
        write(out, &bytes);
        write(
            out,
            &[
                Instruction::GlobalGet(room),
                Instruction::I64GtU,
                Instruction::If(BlockType::Empty),
                Instruction::I32Const(1),
                Instruction::GlobalSet(refused),
                Instruction::I32Const(-1),
                Instruction::GlobalSet(scratch),
                Instruction::End,
                Instruction::GlobalGet(scratch),
            ],
        );
        out.instruction(instruction);
        write(
            out,
            &[
                Instruction::GlobalSet(grown),
                Instruction::GlobalGet(grown),
                Instruction::I32Const(-1),
                Instruction::I32Eq,
                Instruction::If(BlockType::Empty),
            ],
        );
        if bounded {
            write(out, &[Instruction::I32Const(1), Instruction::GlobalSet(refused)]);
        }
        write(out, &[Instruction::Else, Instruction::GlobalGet(room)]);
        write(out, &bytes);
        write(
            out,
            &[Instruction::I64Sub, Instruction::GlobalSet(room), Instruction::End, Instruction::GlobalGet(grown)],
        );
    }
}

impl Reencode for Meter {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> Result<u32> {
        Ok(if function < self.imported { function } else { function + 1 })
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_type_section(self, types, section)?;
        self.types = types.len();
        types.ty().function([ValType::I64], [ValType::I64]);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_import_section(self, imports, section)?;
        // Nothing else than functions can be imported.
        self.imported = imports.len();
        self.add_import(imports);
        Ok(())
    }

    fn memory_type(&mut self, memory: wasmparser::MemoryType) -> Result<wasm_encoder::MemoryType> {
        self.held = self.held.saturating_add(memory.initial.saturating_mul(PAGE));
        Ok(utils::memory_type(self, memory))
    }

    fn table_type(&mut self, table: wasmparser::TableType) -> Result<wasm_encoder::TableType> {
        let most = TABLE_ENTRIES as u64;
        self.held = self.held.saturating_add(table.initial.saturating_mul(ENTRY));
        self.bounded.push(table.maximum.is_none_or(|own| own > most));
        let bounded = wasmparser::TableType { maximum: Some(table.maximum.map_or(most, |own| own.min(most))), ..table };
        utils::table_type(self, bounded)
    }

    fn parse_global_section(
        &mut self,
        globals: &mut GlobalSection,
        section: wasmparser::GlobalSectionReader<'_>,
    ) -> Result<()> {
        utils::parse_global_section(self, globals, section)?;
        self.globals = globals.len();
        self.add_globals(globals);
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Result<()> {
        for export in section {
            let export = export?;
            if !export.name.starts_with(OURS) {
                self.parse_export(exports, export)?;
            }
        }
        for (name, index) in [(FUEL, self.fuel()), (ROOM, self.room()), (REFUSED, self.refused())] {
            exports.export(name, ExportKind::Global, index);
        }
        if let Some(start) = self.start {
            let start = self.function_index(start)?;
            exports.export(START, ExportKind::Func, start);
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: wasmparser::FunctionBody<'_>) -> Result<()> {
        let (mut locals, mut count) = (Vec::new(), self.params.next().unwrap_or_default());
        for local in body.get_locals_reader()? {
            let (more, ty) = local?;
            count += more;
            locals.push((more, self.val_type(ty)?));
        }
        locals.push((1, ValType::I64));
        let mut out = Function::new(locals);
        let fuel = Fuel { global: self.fuel(), local: count, more: self.imported };
        fuel.load(&mut out);
        fuel.ask(&mut out);
        let (mut line, mut open) = (0, 0);
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            line += cost(&operator);
            if branches(&operator) {
                fuel.settle(&mut line, &mut out);
            }
            let calls = matches!(operator, Operator::Call { .. } | Operator::CallIndirect { .. });
            if calls || leaves(&operator, open) {
                fuel.store(&mut out);
            }
            let begins = matches!(operator, Operator::Loop { .. });
            match &operator {
                Operator::MemoryGrow { .. } => {
                    let instruction = self.instruction(operator)?;
                    self.grow(&instruction, PAGE, false, &mut out);
                    continue;
                }
                &Operator::TableGrow { table } => {
                    let bounded = self.bounded.get(table as usize).is_some_and(|bounded| *bounded);
                    let instruction = self.instruction(operator)?;
                    self.grow(&instruction, ENTRY, bounded, &mut out);
                    continue;
                }
                // Much work in one instruction: each 64 bytes count as one, and each entry of a table.
                Operator::MemoryFill { .. } | Operator::MemoryCopy { .. } | Operator::MemoryInit { .. } => {
                    fuel.work(self.scratch(), 6, &mut out);
                }
                Operator::TableFill { .. } | Operator::TableCopy { .. } | Operator::TableInit { .. } => {
                    fuel.work(self.scratch(), 0, &mut out);
                }
                Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => open += 1,
                // That of the function comes last.
                Operator::End => open = open.saturating_sub(1),
                _ => {}
            }
            let instruction = self.instruction(operator)?;
            out.instruction(&instruction);
            if calls {
                fuel.load(&mut out);
            }
            if begins {
                fuel.ask(&mut out);
            }
        }
        code.function(&out);
        Ok(())
    }

    /// Only the names are kept, for stack traces; those that cannot be read are of no use.
    fn parse_custom_section(
        &mut self,
        module: &mut Module,
        section: wasmparser::CustomSectionReader<'_>,
    ) -> Result<()> {
        if section.name() == "name" {
            drop(utils::parse_custom_section(self, module, section));
        }
        Ok(())
    }

    /// What the module has no section for gets one, in its place.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        _: Option<SectionId>,
        next: Option<SectionId>,
    ) -> Result<()> {
        if !self.has_imports && !matches!(next, Some(SectionId::Type | SectionId::Import)) {
            let mut imports = ImportSection::new();
            self.add_import(&mut imports);
            module.section(&imports);
        }
        let late = matches!(
            next,
            Some(SectionId::Export | SectionId::Element | SectionId::DataCount | SectionId::Code | SectionId::Data)
                | None
        );
        if !self.has_globals && late {
            let mut globals = GlobalSection::new();
            self.add_globals(&mut globals);
            module.section(&globals);
        }
        Ok(())
    }
}
