-- expect: bad-output
return function()
  local a = {}
  a.a = a
  return a
end
