-- expect: bad-output
return function()
  local a = {}
  for i = 1, 100000 do
    a = { a }
  end
  return a
end
