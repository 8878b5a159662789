// Compiles one Solidity file as the repository keeps it: node compile.cjs FILE.sol CONTRACT > CONTRACT.json
// No metadata hash is appended, so that the bytes depend on nothing but the source and these settings.
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const [file, contract] = process.argv.slice(2);
const name = path.basename(file);
const settings = {
  evmVersion: "paris",
  optimizer: { enabled: true, runs: 200 },
  metadata: { appendCBOR: false, bytecodeHash: "none" },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const input = { language: "Solidity", sources: { [name]: { content: fs.readFileSync(file, "utf8") } }, settings };
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const problems = output.errors || [];
if (problems.length) {
  process.stderr.write(problems.map((p) => p.formattedMessage).join("\n"));
  process.exit(1);
}
const made = output.contracts[name][contract];
const { outputSelection, ...kept } = settings;
const artifact = {
  contractName: contract,
  compiler: { name: "solc", version: solc.version() },
  settings: kept,
  abi: made.abi,
  bytecode: "0x" + made.evm.bytecode.object,
  deployedBytecode: "0x" + made.evm.deployedBytecode.object,
};
process.stdout.write(JSON.stringify(artifact, null, 2) + "\n");
