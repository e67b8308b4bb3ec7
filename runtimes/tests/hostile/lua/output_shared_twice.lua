-- expect: output-too-large
return function()
  local value = { 'x' }
  for i = 1, 50 do
    value = { value, value }
  end
  return value
end
