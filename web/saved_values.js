// Gives the pack's nodes the values that a workflow was saved with. Front ends save and read the values of a node's
// widgets by place, and lose some where a widget is not saved itself (a player, a waveform, a strip):
// - 1.49 saves an empty place for it, and reads on as if there were none.
// - 1.58 leaves out, before a node takes its values, those at the places of such widgets. It counts the places before a
//   choice has brought widgets of its own, and so leaves out the last values of a node with such a choice.

import { app } from "../../scripts/app.js";

const filled = (values) => JSON.stringify(values.filter((value) => value !== null));

/** A saved node's values without empty places, if those by name say which these are. */
function valuesOf({ widgets_values: values, widgets_values_named: named }) {
  const byName = Object.values(named ?? {});
  return filled(byName) === filled(values) ? byName : values;
}

/** Calls `then` while `object[name]` is `value`, whatever is assigned to it. */
function whileFixed(object, name, value, then) {
  Object.defineProperty(object, name, { get: () => value, set() {}, enumerable: true, configurable: true });
  try {
    return then();
  } finally {
    Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
  }
}

app.registerExtension({
  name: "acestep-cascade.saved_values",
  beforeRegisterNodeDef(nodeType, { name }) {
    if (!name.startsWith("AceStep")) return;
    const { configure } = nodeType.prototype;
    nodeType.prototype.configure = function (saved) {
      const take = () => configure.call(this, saved);
      return Array.isArray(saved.widgets_values) ? whileFixed(saved, "widgets_values", valuesOf(saved), take) : take();
    };
  },
});
