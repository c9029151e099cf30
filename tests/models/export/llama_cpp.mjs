// Loads a GGUF file with llama.cpp, and prints as JSON the tokens of a prompt and the likeliest ones after it.
// node llama_cpp.mjs FOLDER_WITH_NODE_MODULES FILE PROMPT COUNT
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";

const [folder, modelPath, prompt, count] = process.argv.slice(2);
const found = createRequire(`${folder}/`).resolve("node-llama-cpp");
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(found));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: 256, threads: 1});
const tokens = model.tokenize(prompt, true);
const generated = [];
for await (const token of context.getSequence().evaluate(tokens, {temperature: 0, yieldEogToken: true})) {
    generated.push(token);
    if (generated.length >= Number(count) || model.isEogToken(token)) break;
}
console.log(JSON.stringify({tokens, generated, text: model.detokenize(generated), bos: model.tokens.shouldPrependBosToken}));
process.exit(0);
