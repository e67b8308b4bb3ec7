-- expect: bad-output
return function()
  return { 1, 2, three = 3 }
end
