//! Reads the section names of a 64-bit little-endian ELF file, to see that stripping left what the loader needs.

use anyhow::{Context as _, Result, bail};

const MAGIC_64_LITTLE: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// Returns the names of all sections.
///
/// # Errors
/// When the bytes are not such a file or an offset in it points outside.
pub(crate) fn section_names(file: &[u8]) -> Result<Vec<String>> {
    if !file.starts_with(&MAGIC_64_LITTLE) {
        bail!("not a 64-bit little-endian ELF file");
    }
    let table = word(file, 0x28)?;
    let (size, count, names) = (half(file, 0x3a)?, half(file, 0x3c)?, half(file, 0x3e)?);
    let header = |index: usize| index.checked_mul(size).and_then(|offset| offset.checked_add(table)).context("section header out of range");
    let names_at = word(file, header(names)?.saturating_add(0x18))?;
    (0..count).map(|index| text(file, names_at.saturating_add(number(file, header(index)?)?))).collect()
}

/// Fails unless an XDP object kept its program, license and BTF, and lost its DWARF.
///
/// # Errors
/// Names the section that is missing or left over.
pub(crate) fn check_xdp_object(file: &[u8]) -> Result<()> {
    let names = section_names(file)?;
    for wanted in [".BTF", ".BTF.ext", "license"] {
        if !names.iter().any(|name| name == wanted) {
            bail!("section {wanted} is missing");
        }
    }
    if !names.iter().any(|name| name == "xdp" || name.starts_with("xdp/")) {
        bail!("there is no section with an XDP program");
    }
    match names.iter().find(|name| name.starts_with(".debug")) {
        Some(left) => bail!("section {left} was not stripped"),
        None => Ok(()),
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N]> {
    let end = at.checked_add(N).context("offset out of range")?;
    file.get(at..end).and_then(|part| part.try_into().ok()).context("file is truncated")
}

fn half(file: &[u8], at: usize) -> Result<usize> {
    Ok(u16::from_le_bytes(bytes(file, at)?).into())
}

fn number(file: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u32::from_le_bytes(bytes(file, at)?))?)
}

fn word(file: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u64::from_le_bytes(bytes(file, at)?))?)
}

fn text(file: &[u8], at: usize) -> Result<String> {
    let tail = file.get(at..).context("section name out of range")?;
    Ok(String::from_utf8_lossy(tail.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds an ELF file that consists of a header, section headers and their names.
    fn elf(names: &[&str]) -> Vec<u8> {
        let all: Vec<&str> = ["", ".strtab"].iter().chain(names).copied().collect();
        let mut strings = Vec::new();
        let mut headers = Vec::new();
        let names_at = 64 + 64 * all.len() as u64;
        for name in &all {
            let mut header = [0_u8; 64];
            header[..4].copy_from_slice(&(strings.len() as u32).to_le_bytes());
            header[0x18..0x20].copy_from_slice(&names_at.to_le_bytes());
            headers.extend_from_slice(&header);
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        }
        let mut file = vec![0_u8; 64];
        file[..6].copy_from_slice(&MAGIC_64_LITTLE);
        file[0x28..0x30].copy_from_slice(&64_u64.to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&(all.len() as u16).to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&1_u16.to_le_bytes());
        file.extend(headers);
        file.extend(strings);
        file
    }

    #[test]
    fn section_names_are_read_in_order() {
        assert_eq!(section_names(&elf(&["xdp", ".BTF"])).unwrap(), ["", ".strtab", "xdp", ".BTF"]);
    }

    #[test]
    fn a_truncated_file_is_an_error_at_every_length() {
        let file = elf(&["xdp", ".BTF"]);
        let last_name = file.len() - ".BTF".len() - 1;
        for length in 0..last_name {
            assert!(section_names(&file[..length]).is_err(), "{length} of {} bytes were accepted", file.len());
        }
    }

    #[test]
    fn an_object_needs_program_license_and_btf_and_no_dwarf() {
        let cases = [
            ("complete", &["xdp", "license", ".BTF", ".BTF.ext"][..], None),
            ("program with a named section", &["xdp/lb", "license", ".BTF", ".BTF.ext"], None),
            ("no line information", &["xdp", "license", ".BTF"], Some(".BTF.ext is missing")),
            ("no program", &["license", ".BTF", ".BTF.ext"], Some("no section with an XDP program")),
            ("not stripped", &["xdp", "license", ".BTF", ".BTF.ext", ".debug_str"], Some(".debug_str was not stripped")),
        ];
        for (case, names, wanted) in cases {
            let found = check_xdp_object(&elf(names)).err().map(|error| error.to_string());
            match wanted {
                Some(wanted) => assert!(found.as_deref().is_some_and(|text| text.contains(wanted)), "{case}: {found:?}"),
                None => assert_eq!(found, None, "{case}"),
            }
        }
    }
}
