//! The smallest XDP program, which passes every packet, as an object file that `ip` can load.
//!
//! A veth wakes the receiver of a frame sent by `XDP_TX` only if that receiver runs an XDP program itself (`veth_xdp_flush`, checked
//! on 6.18); GRO makes the receiver use NAPI too, but then frames wait until ordinary traffic wakes it. Two instructions are no reason
//! to need a compiler for BPF, so the object is assembled here.

/// Returns the ELF object, with the program in the section [`SECTION`].
pub(crate) fn object() -> Vec<u8> {
    let names = format!("\0{SECTION}\0.symtab\0.strtab\0");
    let name = |wanted: &str| names.find(&format!("\0{wanted}\0")).map_or(0, |at| at as u32 + 1);
    let program = [&MOVE_PASS_TO_R0[..], &EXIT].concat();
    let symbols = [[0; SYMBOL_SIZE], symbol(name(SECTION), program.len() as u64)].concat();

    let program_at = HEADER_SIZE as u64;
    let symbols_at = program_at + program.len() as u64;
    let names_at = symbols_at + symbols.len() as u64;
    // Aligned for the section headers, whose fields are eight bytes wide.
    let padding = vec![0; names.len().next_multiple_of(8) - names.len()];
    let sections_at = names_at + (names.len() + padding.len()) as u64;

    let sections = [
        Section::default(),
        Section { name: name(SECTION), kind: 1, flags: 6, at: program_at, size: program.len() as u64, ..Section::default() },
        Section {
            name: name(".symtab"),
            kind: 2,
            at: symbols_at,
            size: symbols.len() as u64,
            link: 3,
            info: 1,
            entry: SYMBOL_SIZE as u64,
            ..Section::default()
        },
        Section { name: name(".strtab"), kind: 3, at: names_at, size: names.len() as u64, ..Section::default() },
    ];
    let sections: Vec<u8> = sections.iter().flat_map(Section::encode).collect();
    [header(sections_at), program, symbols, names.into_bytes(), padding, sections].concat()
}

/// Where the program is.
pub(crate) const SECTION: &str = "xdp";

/// A section header of ELF; zero where nothing is said.
#[derive(Default)]
struct Section {
    name: u32,
    /// 1 is program data, 2 symbols, 3 names.
    kind: u32,
    /// 2 is loaded, 4 is executed.
    flags: u64,
    at: u64,
    size: u64,
    link: u32,
    info: u32,
    entry: u64,
}

impl Section {
    fn encode(&self) -> Vec<u8> {
        let address = [0; 8];
        let alignment = 8_u64.to_le_bytes();
        [
            &self.name.to_le_bytes()[..],
            &self.kind.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &address,
            &self.at.to_le_bytes(),
            &self.size.to_le_bytes(),
            &self.link.to_le_bytes(),
            &self.info.to_le_bytes(),
            &alignment,
            &self.entry.to_le_bytes(),
        ]
        .concat()
    }
}

/// Returns the header of a relocatable little-endian 64-bit object for BPF (machine 247) with four sections, the last of them names.
fn header(sections_at: u64) -> Vec<u8> {
    let half = |value: u16| value.to_le_bytes();
    [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"[..],
        &half(1),
        &half(247),
        &1_u32.to_le_bytes(),
        &[0; 16],
        &sections_at.to_le_bytes(),
        &[0; 4],
        &half(HEADER_SIZE as u16),
        &[0; 4],
        &half(SECTION_SIZE),
        &half(4),
        &half(3),
    ]
    .concat()
}

/// Returns a global function at the start of the first section.
fn symbol(name: u32, size: u64) -> [u8; SYMBOL_SIZE] {
    const GLOBAL_FUNCTION: u8 = 0x12;
    let mut symbol = [0; SYMBOL_SIZE];
    symbol[..4].copy_from_slice(&name.to_le_bytes());
    symbol[4] = GLOBAL_FUNCTION;
    symbol[6] = 1;
    symbol[16..].copy_from_slice(&size.to_le_bytes());
    symbol
}

const MOVE_PASS_TO_R0: [u8; 8] = [0xb7, 0, 0, 0, 2, 0, 0, 0];
const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];

const HEADER_SIZE: usize = 64;
const SYMBOL_SIZE: usize = 24;
const SECTION_SIZE: u16 = 64;
