-- expect: killed
return function()
  local text = ('a'):rep(8000000)
  return text:find(('a'):rep(1000000) .. 'b', 1, true)
end
