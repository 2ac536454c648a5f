// MIDI files for Play Score: a button below its widgets chooses one, and files can be dropped on the node.

import { app } from "../../scripts/app.js";
import { inputIndex, isFed } from "./graph_links.js";
import { after, grow } from "./node_hooks.js";
import { chooseFile, takeDrops, upload } from "./uploads.js";

const NODE = "AceStepPlayScore";
const WIDGET = "score";
const ENDINGS = [".mid", ".midi"]; // browsers know no one type of such files

const isScore = ({ name }) => ENDINGS.some((ending) => name.toLowerCase().endsWith(ending));

function take(node, file) {
  const failed = ({ message }) =>
    app.extensionManager.toast.add({ severity: "error", summary: file.name, detail: message, life: 8000 });
  if (!isScore(file)) return failed({ message: `is no MIDI file; its name would end in ${ENDINGS.join(" or ")}` });
  return upload(node, WIDGET, file).catch(failed);
}

app.registerExtension({
  name: "acestep-cascade.scores",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (nodeData.name !== NODE) return;
    after(nodeType, "onConfigure", function () {
      grow(this); // a workflow may be older than the button
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const choose = () => chooseFile(ENDINGS.join(), (file) => take(node, file));
    const button = node.addWidget("button", "upload", "", choose, { serialize: false });
    button.label = "choose MIDI file to upload";
    button.serialize = false;
    takeDrops(node, {
      fits: isScore,
      isFree: () => !isFed(node, inputIndex(node, WIDGET)),
      take: (file) => take(node, file),
    });
  },
});
