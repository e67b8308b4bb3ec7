-- expect: bad-output
return function()
  return { value = 0 / 0 }
end
