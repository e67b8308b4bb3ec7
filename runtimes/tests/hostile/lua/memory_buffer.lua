-- expect: memory
return function()
  return buffer.len(buffer.create(1000000000))
end
