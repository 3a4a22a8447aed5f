//! Variables of the process that have a value from its start: `set-var` and `set-var-fmt` of section `global`.

use control::config::{Diagnostic, StartVariable};

use super::expr::Expression;
use super::fetch::Needs;
use super::log_format::Format;
use super::names::Names;
use super::sample::Sample;
use super::view::{Lifetime, Memory, Scene, Shared, View};
use super::word::{self, Words};

/// Gives a variable of the process its first value.
///
/// # Errors
/// Says what is wrong with its name or its value.
pub(super) fn set(variable: &StartVariable, names: &mut Names, shared: &Shared) -> Result<(), Diagnostic> {
    let words = word::split(variable.text())?;
    let mut words = Words::new(&words, variable.text());
    let name = words.expect("the name of a variable")?;
    let id = names.variable(name.text()).map_err(|error| name.error(error))?;
    if id.lifetime != Lifetime::Process {
        return Err(name.error(format!("`{}` does not live as long as the process", name.text())).hint("for example proc.site"));
    }
    let word = words.expect("its value")?;
    if let Some(word) = words.next() {
        return Err(word.error(format!("`{}` stands where the value should end", word.text())));
    }
    let (scene, memory) = (Scene::nowhere(shared), Memory::default());
    let view = View { scene: &scene, request: None, response: None, memory: &memory };
    let value = if variable.is_format() {
        let mut text = Vec::new();
        Format::parse(word, names, Needs::Connection)?.write(&view, &mut text);
        Some(Sample::own(text))
    } else {
        let expression = Expression::of_word(word, names)?;
        if expression.needs() > Needs::Connection {
            return Err(word.error(format!("`{}` is not known when the process starts", word.text())));
        }
        expression.value(&view).map(Sample::into_owned)
    };
    match value {
        Some(value) => memory.change(shared, id, Some(value)),
        None => names.warnings.push(word.warning(format!("`{}` has no value when the process starts", word.text()))),
    }
    Ok(())
}
