-- expect: memory
return function()
  local digits, kept = ("9"):rep(1000000), {}
  for i = 1, 400 do
    kept[i] = exact(digits .. i)
  end
  return #kept
end
