-- The client of tests/it/editor.rs: Neovim itself asks the language server about a configuration, as a person would who
-- edits it, and writes what it was told to a file.
local binary, folder, out = vim.env.HEXAFN, vim.env.FOLDER, vim.env.OUT
local seen = {}

local function finish()
  local file = assert(io.open(out, "w"))
  file:write(vim.fn.json_encode(seen))
  file:close()
  vim.cmd("qall!")
end

local function open(path)
  vim.cmd("edit " .. vim.fn.fnameescape(path))
  local buffer = vim.api.nvim_get_current_buf()
  vim.lsp.buf_attach_client(buffer, seen.client)
  return buffer
end

-- Findings of a buffer once they are there; each as "line:column code message".
local function findings(buffer, count)
  vim.wait(5000, function() return #vim.diagnostic.get(buffer) == count end, 10)
  return vim.tbl_map(function(d)
    return string.format("%d:%d %s %s", d.lnum, d.col, d.code, vim.split(d.message, "\n")[1])
  end, vim.diagnostic.get(buffer))
end

local function ask(buffer, method, line, column)
  local params = { textDocument = { uri = vim.uri_from_bufnr(buffer) }, position = { line = line, character = column } }
  params.options = { tabSize = 2, insertSpaces = true }
  local answers = vim.lsp.buf_request_sync(buffer, method, params, 5000) or {}
  for _, answer in pairs(answers) do return answer.result end
end

local ok, why = pcall(function()
  seen.client = vim.lsp.start_client({ name = "hexafn", cmd = { binary, "lsp" }, root_dir = folder })
  vim.wait(5000, function() return vim.lsp.get_client_by_id(seen.client) ~= nil end, 10)
  vim.wait(5000, function() return vim.lsp.get_client_by_id(seen.client).initialized end, 10)

  local program = open(folder .. "/functions/f.hexa")
  seen.right = findings(program, 0)
  seen.hover_builtin = ask(program, "textDocument/hover", 2, 7)
  seen.hover_import = ask(program, "textDocument/hover", 2, 13)
  seen.definition = ask(program, "textDocument/definition", 2, 13)
  seen.fields = ask(program, "textDocument/completion", 2, 25)
  seen.words = ask(program, "textDocument/completion", 1, 0)
  seen.layout = ask(program, "textDocument/formatting", 0, 0)
  vim.api.nvim_buf_set_lines(program, 2, 3, false, { "{ n: lenn(double(event.data.xs)), é: '😀', m: nope }" })
  seen.wrong = findings(program, 2)

  local module = open(folder .. "/lib/m.hexa")
  seen.module_right = findings(module, 0)
  vim.api.nvim_buf_set_lines(module, 1, 2, false, { "fn double(xs) = [x * two for x in xs]" })
  seen.module_wrong = findings(module, 1)

  local toml = open(folder .. "/hexafn.toml")
  seen.toml_right = findings(toml, 0)
  seen.toml_hover = ask(toml, "textDocument/hover", 13, 9)
  seen.toml_fields = ask(toml, "textDocument/completion", 13, 18)
  seen.toml_words = ask(toml, "textDocument/completion", 1, 8)
  seen.toml_definition = ask(toml, "textDocument/definition", 14, 8)
  seen.toml_file = ask(toml, "textDocument/definition", 8, 10)
  -- Nothing is saved: what is typed is checked all the same, with the other files as they are shown.
  vim.api.nvim_buf_set_lines(toml, 13, 14, false, { 'when = "len(event.data.xs) > 0 and nope"' })
  seen.toml_typed = findings(toml, 1)
  vim.api.nvim_buf_set_lines(toml, 13, 14, false, { 'when = "len(event.data.xs) > 0"' })
  seen.toml_again = findings(toml, 0)
  vim.api.nvim_buf_set_lines(toml, 0, 0, false, { "[sever]" })
  vim.cmd("write")
  seen.toml_wrong = findings(toml, 1)
  vim.lsp.stop_client(seen.client)
  seen.stopped = vim.wait(5000, function() return vim.lsp.get_client_by_id(seen.client) == nil end, 10)
end)
if not ok then seen.failed = tostring(why) end
finish()
